"""pg_dump and pg_restore through the proxy: what comes back is what was there.

They set much in their session and hold one transaction: session pooling is theirs. Transaction
pooling follows the settings and does it too.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clients.programs import Programs
from tests.support.proxy import ProxyProcess

OBJECTS = """
CREATE SEQUENCE numbers START 5 INCREMENT 3;
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TYPE pair AS (a int, b text);
CREATE TABLE person (
    id bigint PRIMARY KEY DEFAULT nextval('numbers'), name text NOT NULL UNIQUE, feels mood,
    likes pair, born date CHECK (born > '1900-01-01'), tags text[] DEFAULT '{}'
);
CREATE TABLE note (id int GENERATED ALWAYS AS IDENTITY, person bigint REFERENCES person, body text);
CREATE INDEX note_by_person ON note (person) WHERE body IS NOT NULL;
CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql AS $$ SELECT upper($1) || ';--''' $$;
CREATE VIEW loud AS SELECT shout(name) AS name FROM person;
CREATE TABLE parts (id int, day date) PARTITION BY RANGE (day);
CREATE TABLE parts_2026 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
COMMENT ON TABLE person IS 'who; "quoted" and ''single''';
COMMENT ON COLUMN person.name IS 'ünïcode';
INSERT INTO person (name, feels, likes, born, tags)
    SELECT 'n' || g, 'glad', (g, E'b\\t\\\\' || g)::pair, date '2000-01-01' + g, ARRAY['x', g::text]
    FROM generate_series(1, 2000) g;
INSERT INTO note (person, body) SELECT id, repeat('long ', 200) FROM person;
INSERT INTO parts VALUES (1, '2026-05-05');
"""
COMPARED = (
    "SELECT count(*), sum(id), md5(string_agg(p::text, '|' ORDER BY id)) FROM {0}.person p",
    "SELECT count(*), md5(string_agg(n::text, '|' ORDER BY id)) FROM {0}.note n",
    "SELECT last_value, is_called FROM {0}.numbers",
    "SELECT count(*), max(name) FROM {0}.loud",
    "SELECT * FROM {0}.parts_2026",
    "SELECT obj_description('{0}.person'::regclass), col_description('{0}.person'::regclass, 2)",
    "SELECT indexdef FROM pg_indexes WHERE schemaname = '{0}' ORDER BY 1",
)


@pytest.fixture
def full(proxy: ProxyProcess, schema: str) -> Iterator[str]:
    """A schema with one of each kind of object."""
    with proxy.cluster.connect("s0-p", options=f"-c search_path={schema}") as connection:
        connection.execute(OBJECTS)
    yield schema


def facts(proxy: ProxyProcess, schema: str) -> list[object]:
    with proxy.cluster.connect("s0-p") as connection:
        return [connection.execute(each.format(schema)).fetchall() for each in COMPARED]


def drop(proxy: ProxyProcess, schema: str) -> None:
    with proxy.cluster.connect("s0-p") as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


def definition(programs: Programs, dsn: str, schema: str) -> str:
    """Return the schema as SQL; newer programs put a random word into it."""
    told = programs.run("pg_dump", "--schema-only", "-n", schema, dsn).stdout
    return re.sub(r"^\\(un)?restrict .*$", "", told, flags=re.MULTILINE)


@pytest.mark.parametrize("form", ["custom", "plain", "directory"])
def test_dump_and_restore(
    either: ProxyProcess, programs: Programs, full: str, tmp_path: Path, form: str
):
    before, text = facts(either, full), definition(programs, either.dsn(), full)
    direct = definition(programs, either.cluster.dsn("s0-p"), full)
    assert text == direct
    file = tmp_path / "dump"
    programs.run("pg_dump", "-F", form, "-n", full, "-f", file, either.dsn())
    drop(either, full)
    if form == "plain":
        programs.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file, either.dsn())
    else:
        jobs = ("-j", "2") if form == "directory" else ("--single-transaction",)
        programs.run("pg_restore", "--exit-on-error", *jobs, "-d", either.dsn(), file)
    assert facts(either, full) == before
    assert definition(programs, either.cluster.dsn("s0-p"), full) == text


def test_parallel_dump(either: ProxyProcess, programs: Programs, full: str, tmp_path: Path):
    """Several connections share one exported snapshot: they must be on one node."""
    before, folder = facts(either, full), tmp_path / "dump"
    programs.run("pg_dump", "-F", "directory", "-j", "3", "-n", full, "-f", folder, either.dsn())
    drop(either, full)
    programs.run("pg_restore", "--exit-on-error", "-d", either.dsn(), folder)
    assert facts(either, full) == before


def test_dump_leaves_nothing_behind(proxy: ProxyProcess, programs: Programs, full: str):
    """pg_dump empties search_path and sets DateStyle: the next client must not see that."""
    programs.run("pg_dump", "-n", full, proxy.dsn())
    with proxy.connect() as connection:
        assert connection.execute("SHOW search_path").fetchone() == ('"$user", public',)
        assert connection.execute("SHOW extra_float_digits").fetchone() == ("1",)


def test_restore_into_another_database(
    make_proxy, proxy: ProxyProcess, programs: Programs, full: str, tmp_path: Path
):
    """The database of another proxy, in session pooling."""
    other = make_proxy(shards=("s0",), proxy_pool={"mode": "session"})
    file = tmp_path / "dump"
    programs.run("pg_dump", "-F", "custom", "-n", full, "-f", file, proxy.dsn())
    programs.run("pg_restore", "--exit-on-error", "-d", other.dsn(), file)
    assert facts(other, full) == facts(proxy, full)
