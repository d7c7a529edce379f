"""Digests, hashes, orphans and fingerprints tell whether two shards hold the same."""

import json
from collections.abc import Iterator

import pytest

from shardrouter.local import LocalFleet
from shardrouter.postgres import moving
from shardrouter.topology import KeyColumn, KeyType, Slot, Table, TableKind
from tests.support.debian_postgres import BINARIES, is_installed
from tests.support.moving_shards import (
    ORDERS,
    PAIRED,
    SLOT_COUNT,
    SLOTS,
    TABLES,
    MovingShards,
    run,
)

OF = (SLOTS, SLOT_COUNT)


@pytest.fixture
def filled(shards: MovingShards) -> MovingShards:
    shards.fill(shards.source_dsn, shards.target_dsn)
    return shards


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_chunks_cover_every_row_once(filled: MovingShards, table: Table) -> None:
    after: moving.Key | None = None
    rows, chunks = 0, 0
    with filled.source.begin() as a, filled.target.begin() as b:
        while True:
            ours = moving.digest_chunk(a, table, *OF, after, 60)
            theirs = moving.digest_range(b, table, *OF, after, ours.last_pk)
            assert ours.matches(theirs) and ours == theirs
            hashes = moving.row_hashes(a, table, *OF, after, ours.last_pk)
            assert len(hashes) == ours.rows
            assert sum(hashes.values()) == int(ours.digest)
            rows, chunks, after = rows + ours.rows, chunks + 1, ours.last_pk
            if after is None:
                break
            assert tuple(json.loads(json.dumps(after))) == after
    assert chunks > 2
    assert rows == filled.rows(filled.source_dsn, table)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE orders SET note = 'other' WHERE id = (SELECT max(id) FROM orders WHERE {})",
        "DELETE FROM orders WHERE id = (SELECT min(id) FROM orders WHERE {})",
        "UPDATE orders SET note = '' WHERE id = (SELECT min(id) FROM orders WHERE {})",
    ],
)
def test_a_difference_is_found_and_shown(filled: MovingShards, damage: str) -> None:
    from shardrouter.postgres.guard_sql import in_slots_sql

    run(filled.target_dsn, "UPDATE orders SET note = NULL WHERE id = (SELECT max(id) FROM orders)")
    run(filled.source_dsn, "UPDATE orders SET note = NULL WHERE id = (SELECT max(id) FROM orders)")
    run(filled.target_dsn, damage.format(in_slots_sql(ORDERS.key, SLOTS, SLOT_COUNT)))
    with filled.source.begin() as a, filled.target.begin() as b:
        ours, theirs = (moving.digest_range(c, ORDERS, *OF, None, None) for c in (a, b))
        assert not ours.matches(theirs)
        here, there = (moving.row_hashes(c, ORDERS, *OF, None, None) for c in (a, b))
        wrong = [key for key in here if there.get(key) != here[key]]
        assert len(wrong) == 1
        assert moving.hashes_of(a, ORDERS, *OF, wrong) == {wrong[0]: here[wrong[0]]}
        assert moving.hashes_of(a, ORDERS, *OF, []) == {}
        assert "note" in json.loads(moving.show_rows(a, ORDERS, *OF, wrong)[wrong[0]])


def test_rows_of_other_slots_do_not_count(filled: MovingShards) -> None:
    run(filled.target_dsn, "DELETE FROM orders WHERE NOT " + _moves())
    with filled.source.begin() as a, filled.target.begin() as b:
        ours, theirs = (moving.digest_range(c, ORDERS, *OF, None, None) for c in (a, b))
        assert ours.matches(theirs)


def _moves() -> str:
    from shardrouter.postgres.guard_sql import in_slots_sql

    return in_slots_sql(ORDERS.key, SLOTS, SLOT_COUNT)


def test_an_empty_table(shards: MovingShards) -> None:
    with shards.source.begin() as c:
        assert moving.digest_chunk(c, PAIRED, *OF, None, 10) == moving.Chunk(None, 0, "0")


EVERYTHING = Table("everything", TableKind.SHARDED, (KeyColumn("id", KeyType.INT8),))
CREATE_EVERYTHING = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, b text);
CREATE TABLE everything (
    id bigint, f4 real, f8 float8, n numeric, t text, c char(5), v varchar(9), b bytea,
    at timestamptz, local timestamp, d date, i interval, tm time, tz timetz, u uuid, j json,
    jb jsonb, ia int[], ta text[][], m mood, p pair, r int4range, mr int8multirange, net inet,
    bits bit varying, o oid, money money, pt point, tsv tsvector, bo boolean,
    made text GENERATED ALWAYS AS (coalesce(t, '') || '!') STORED,
    PRIMARY KEY (f8, at, t, id));
"""
FILL_EVERYTHING = r"""
SET TimeZone = '{zone}'; SET DateStyle = '{style}'; SET IntervalStyle = '{interval}';
SET extra_float_digits = {digits}; SET bytea_output = '{bytea}';
INSERT INTO everything
SELECT n, n / 3.0, n / 7.0, n / 11.0, 'text ' || n || E'\\ "''\t', 'c', NULL,
       decode(md5(n::text), 'hex'), timestamptz '2020-03-29 00:30:00+00' + n * interval '77 min',
       timestamp '1999-12-31 23:59:59.999999' + n * interval '1 s', date '0044-03-15 BC' + n,
       n * interval '1 mon 2 d 3.000004 s', time '00:00:00.000001' + n * interval '1 min',
       timetz '12:00:00+02', md5(n::text)::uuid, '{{"b": 1,  "a": [1.50]}}',
       '{{"b": 1,  "a": [1.50]}}', ARRAY[n, NULL, 3], ARRAY[['a', NULL], ['', '"']], 'ok',
       ROW(n, NULL)::pair, int4range(n, n + 1), int8multirange(int8range(1, n + 1)), '10.0.0.1/8',
       B'0101', n, 12.34, point(n / 3.0, 0), to_tsvector('simple', 'a b a'), true
  FROM generate_series(1, 300) n;
INSERT INTO everything (id, f8, at, t) VALUES
    (301, 'NaN', 'infinity', ''), (302, '-infinity', '-infinity', repeat('x', 20000)),
    (303, '-0', '2020-01-01 00:00+00', E'\n'), (304, 1e300, '2020-01-01 00:00+00', '''');
"""
PLAIN = {"zone": "UTC", "style": "ISO", "interval": "postgres", "digits": 1, "bytea": "hex"}
OTHERWISE = {
    "zone": "Asia/Kathmandu",
    "style": "German",
    "interval": "iso_8601",
    "digits": -5,
    "bytea": "escape",
}
ALL = (tuple(Slot(i) for i in range(SLOT_COUNT)), SLOT_COUNT)


@pytest.fixture(scope="session")
def other_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    """A server of the distribution's Postgres 15, beside those under test."""
    if not is_installed():
        pytest.skip("Postgres 15 is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHARDROUTER_PG_BIN", str(BINARIES))
        fleet = LocalFleet.temporary(1, 0)
    yield fleet
    fleet.destroy()


def test_digests_are_equal_across_versions_and_settings(
    shards: MovingShards, other_fleet: LocalFleet
) -> None:
    other = MovingShards(other_fleet.node("s0-p").dsn("app"), shards.target_dsn)
    for dsn, settings in ((shards.source_dsn, PLAIN), (other.source_dsn, OTHERWISE)):
        run(dsn, CREATE_EVERYTHING)
        run(dsn, FILL_EVERYTHING.format(**settings))
    set_otherwise = "; ".join(
        f"ALTER ROLE postgres SET {name} = '{value}'"
        for name, value in {
            "timezone": OTHERWISE["zone"],
            "datestyle": OTHERWISE["style"],
            "intervalstyle": OTHERWISE["interval"],
            "extra_float_digits": OTHERWISE["digits"],
            "bytea_output": OTHERWISE["bytea"],
        }.items()
    )
    run(other.source_dsn, set_otherwise)
    after: moving.Key | None = None
    with shards.source.begin() as a, other.source.begin() as b:
        while True:
            ours = moving.digest_chunk(a, EVERYTHING, *ALL, after, 50)
            if not ours.matches(moving.digest_range(b, EVERYTHING, *ALL, after, ours.last_pk)):
                here, there = (
                    moving.row_hashes(c, EVERYTHING, *ALL, after, ours.last_pk) for c in (a, b)
                )
                wrong = [key for key in {**here, **there} if here.get(key) != there.get(key)]
                shown = [moving.show_rows(c, EVERYTHING, *ALL, wrong[:1]) for c in (a, b)]
                pytest.fail(f"{len(wrong)} rows differ: {shown}")
            after = ours.last_pk
            if after is None:
                break
        assert moving.digest_range(a, EVERYTHING, *ALL, None, None).rows == 304
        assert (
            moving.differences(moving.fingerprint(a, EVERYTHING), moving.fingerprint(b, EVERYTHING))
            == []
        )
    other.source.dispose()
    other.target.dispose()


def test_fingerprints_are_equal_across_versions(
    shards: MovingShards, other_fleet: LocalFleet
) -> None:
    from tests.support.moving_shards import CREATE

    other = MovingShards(other_fleet.node("s0-p").dsn("app"), shards.target_dsn)
    run(other.source_dsn, CREATE)
    with shards.source.begin() as a, other.source.begin() as b:
        for table in TABLES:
            ours, theirs = moving.fingerprint(a, table), moving.fingerprint(b, table)
            assert moving.differences(ours, theirs) == []
            assert json.loads(json.dumps(dict(ours))) == ours
    other.source.dispose()
    other.target.dispose()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ALTER TABLE orders ADD extra int", "column extra is missing here (integer)"),
        ("ALTER TABLE orders ALTER note SET NOT NULL", "column note is text here, text not null"),
        ("ALTER TABLE orders ALTER note SET DEFAULT ''", "text default there"),
        ('ALTER TABLE orders ALTER note TYPE text COLLATE "C"', 'text collate "C" there'),
        ("CREATE INDEX ON orders (note)", "index USING btree (note) is missing here"),
        ("CREATE UNIQUE INDEX ON orders (id)", "index unique USING btree (id) is missing here"),
        ("ALTER TABLE orders ADD CHECK (id > 0)", "constraint CHECK ((id > 0)) is missing here"),
        ("ALTER TABLE orders REPLICA IDENTITY FULL", "primary key here, whole row there"),
        ("ALTER TABLE orders ALTER id DROP IDENTITY", "identity here, bigint not null there"),
        ("DROP TABLE parted_1", "partition public.parted_1 is missing there"),
    ],
)
def test_a_changed_table_is_told(shards: MovingShards, change: str, words: str) -> None:
    run(shards.target_dsn, change)
    with shards.source.begin() as a, shards.target.begin() as b:
        told = [
            line
            for table in TABLES
            for line in moving.differences(
                moving.fingerprint(a, table), moving.fingerprint(b, table)
            )
        ]
    assert len(told) >= 1
    assert any(words in line for line in told), told


def test_names_of_indexes_do_not_matter(shards: MovingShards) -> None:
    run(shards.source_dsn, 'CREATE INDEX "odd USING name" ON orders (note)')
    run(shards.target_dsn, "CREATE INDEX plain ON orders (note)")
    with shards.source.begin() as a, shards.target.begin() as b:
        ours, theirs = moving.fingerprint(a, ORDERS), moving.fingerprint(b, ORDERS)
    assert moving.differences(ours, theirs) == []


def test_rows_without_a_parent_are_found(shards: MovingShards) -> None:
    run(
        shards.source_dsn,
        """CREATE TABLE lines (user_id bigint, id bigint, n int, other int,
            PRIMARY KEY (user_id, id, n),
            FOREIGN KEY (user_id, id) REFERENCES orders (user_id, id),
            FOREIGN KEY (other) REFERENCES lookups);
        """.replace(
            "CREATE TABLE lines", "CREATE TABLE lookups (id int PRIMARY KEY);CREATE TABLE lines"
        )
        + """
        INSERT INTO orders (user_id, id) SELECT i, i FROM generate_series(1, 50) i;
        INSERT INTO lookups VALUES (1);
        INSERT INTO lines SELECT i, i, 1, CASE WHEN i % 2 = 0 THEN 1 END
          FROM generate_series(1, 50) i;
        SET session_replication_role = replica; DELETE FROM orders WHERE user_id IN (3, 4);
        """,
    )
    lines = Table("lines", TableKind.SHARDED, ORDERS.key)
    with shards.source.begin() as c:
        keys = {key.parent: key for key in moving.foreign_keys(c, [lines])}
        assert set(keys) == {"public.orders", "public.lookups"}
        assert keys["public.orders"].columns == ("user_id", "id")
        assert sorted(moving.orphans(c, keys["public.orders"], *ALL)) == [
            ("3", "3", "1"),
            ("4", "4", "1"),
        ]
        assert moving.orphans(c, keys["public.lookups"], *ALL) == []
