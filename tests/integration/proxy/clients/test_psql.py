"""psql through the proxy: commands, \\copy, \\watch, \\gset, Ctrl-C, several statements at once."""

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.clients.programs import Done, Programs
from tests.support.eventually import SLOWNESS, eventually
from tests.support.proxy import ProxyProcess

PLAIN = ("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1")
PROMPT = 10.0  # seconds after which something hangs


class Psql:
    """psql at one proxy, in one schema."""

    def __init__(self, programs: Programs, proxy: ProxyProcess, schema: str) -> None:
        self.programs = programs
        self.proxy = proxy
        self.dsn = proxy.dsn(options=f"-c search_path={schema}", application_name="psql-test")

    def run(self, *arguments: str, stdin: str | None = None, is_good: bool = True) -> Done:
        return self.programs.run("psql", *PLAIN, *arguments, self.dsn, stdin=stdin, is_good=is_good)

    def out(self, *arguments: str, stdin: str | None = None) -> str:
        return self.run(*arguments, stdin=stdin).stdout.strip()


@pytest.fixture
def psql(programs: Programs, either: ProxyProcess, schema: str) -> Psql:
    return Psql(programs, either, schema)


def test_commands(psql: Psql):
    script = """
        CREATE TABLE item (id int PRIMARY KEY, name text);
        INSERT INTO item VALUES (1, 'one'), (2, 'two');
        BEGIN;
        DELETE FROM item;
        ROLLBACK;
        SELECT id, name FROM item ORDER BY id;
    """
    assert psql.out(stdin=script) == "1|one\n2|two"


def test_several_commands_share_a_session(psql: Psql):
    told = psql.out("-c", "SET my.tenant = 'acme'", "-c", "SELECT 1; SHOW my.tenant")
    assert told == "1\nacme"


def test_one_transaction(psql: Psql):
    psql.run("-c", "CREATE TABLE item (id int PRIMARY KEY)")
    failing = ("-1", "-c", "INSERT INTO item VALUES (1)", "-c", "INSERT INTO item VALUES (1)")
    told = psql.run(*failing, is_good=False)
    assert "duplicate key" in told.stderr
    assert psql.out("-c", "SELECT count(*) FROM item") == "0"
    psql.run("-1", "-c", "INSERT INTO item VALUES (1)", "-c", "INSERT INTO item VALUES (2)")
    assert psql.out("-c", "SELECT count(*) FROM item") == "2"


def test_error_in_the_middle_of_a_text(psql: Psql):
    told = psql.run("-c", "SELECT 1; SELECT 1/0; SELECT 2", is_good=False)
    assert told.stdout.strip() == "1"
    assert "division by zero" in told.stderr


def test_copy_out_and_in(psql: Psql, tmp_path: Path):
    file = tmp_path / "rows.csv"
    psql.run(
        "-c",
        "CREATE TABLE item AS SELECT g AS id, repeat('x', 50) AS pad"
        " FROM generate_series(1, 20000) g",
    )
    psql.run("-c", f"\\copy item TO '{file}' WITH (FORMAT csv)")
    assert file.read_text().count("\n") == 20000
    psql.run("-c", "CREATE TABLE copied (LIKE item)")
    psql.run("-c", f"\\copy copied FROM '{file}' WITH (FORMAT csv)")
    assert psql.out("-c", "SELECT count(*), sum(id) FROM copied") == "20000|200010000"


def test_copy_from_stdin(psql: Psql):
    script = "CREATE TABLE item (id int, name text);\nCOPY item FROM stdin;\n1\tone\n2\ttwo\n\\.\n"
    script += "SELECT count(*) FROM item;\n"
    assert psql.out(stdin=script) == "2"


def test_copy_that_fails(psql: Psql):
    script = "CREATE TABLE item (id int);\nCOPY item FROM stdin;\n1\nnot a number\n\\.\n"
    told = psql.run(stdin=script, is_good=False)
    assert "invalid input syntax for type integer" in told.stderr
    assert psql.out("-c", "SELECT count(*) FROM item") == "0"


def test_gset_and_variables(psql: Psql):
    script = "SELECT 6 AS six, 7 AS seven \\gset\nSELECT :six * :seven;\n"
    script += "SELECT format('SELECT %s', n) FROM generate_series(1, 3) n \\gexec\n"
    assert psql.out(stdin=script).splitlines() == ["42", "1", "2", "3"]


def test_describe(psql: Psql):
    psql.run("-c", "CREATE TABLE item (id int PRIMARY KEY, name text DEFAULT 'none')")
    told = psql.run(
        "--no-align",
        "-P",
        "t=off",
        "-c",
        "\\d item",
        "-c",
        "\\dt",
        "-c",
        "\\df",
        "-c",
        "\\l",
        "-c",
        "\\du",
    ).stdout
    assert "id|integer" in told
    assert "PRIMARY KEY, btree (id)" in told
    assert "postgres" in told


def test_gdesc_and_bind(psql: Psql):
    """\\gdesc parses and describes without running; \\bind uses the extended protocol."""
    script = "SELECT 1 AS one, 'x'::text AS letter \\gdesc\n"
    assert psql.out(stdin=script) == "one|integer\nletter|text"
    if _major(psql) >= 16:
        assert psql.out(stdin="SELECT $1::int + $2::int \\bind 40 2 \\g\n") == "42"


def test_named_statements(psql: Psql):
    if _major(psql) < 18:
        pytest.skip("psql before 18 has no \\parse")
    script = "SELECT $1::int + 1 \\parse plus\n\\bind_named plus 41 \\g\n\\close_prepared plus\n"
    assert psql.out(stdin=script) == "42"


def test_pipeline(psql: Psql):
    if _major(psql) < 18:
        pytest.skip("psql before 18 has no \\startpipeline")
    script = (
        "\\startpipeline\nSELECT $1 \\bind 1 \\sendpipeline\nSELECT $1 \\bind 2 \\sendpipeline\n"
        "\\flushrequest\n\\getresults\nSELECT $1 \\bind 3 \\sendpipeline\n\\endpipeline\n"
    )
    assert psql.out(stdin=script).split() == ["1", "2", "3"]


def test_fetch_count(psql: Psql):
    """A cursor of psql's own, or with newer ones chunks of rows."""
    told = psql.out("-v", "FETCH_COUNT=100", "-c", "SELECT generate_series(1, 1000)")
    assert told.split() == [str(n) for n in range(1, 1001)]


def test_watch(psql: Psql):
    with psql.programs.running("psql", *PLAIN, psql.dsn) as running:
        assert running.stdin is not None and running.stdout is not None
        running.stdin.write("SELECT 'tick' \\watch 0.05\n")
        running.stdin.close()
        ticks = 0
        while ticks < 3:
            line = running.stdout.readline()
            assert line, "psql ended"
            ticks += line.strip() == "tick"
        running.send_signal(signal.SIGINT)
        assert _ends(running)


def test_interrupt(psql: Psql):
    """Ctrl-C is a cancel request on a connection of its own."""
    with psql.programs.running("psql", *PLAIN, psql.dsn) as running:
        assert running.stdin is not None
        running.stdin.write("SELECT pg_sleep(600);\n")
        running.stdin.flush()
        _wait_asleep(psql)
        asked_at = time.monotonic()
        running.send_signal(signal.SIGINT)
        running.stdin.close()
        assert running.stderr is not None
        assert "canceling statement due to user request" in running.stderr.read()
        assert _ends(running)
        assert time.monotonic() - asked_at < PROMPT * SLOWNESS


def test_interrupt_reaches_only_its_own(psql: Psql):
    with psql.programs.running("psql", *PLAIN, "-c", "SELECT pg_sleep(1.5)", psql.dsn) as other:
        with psql.programs.running("psql", *PLAIN, "-c", "SELECT pg_sleep(600)", psql.dsn) as mine:
            _wait_asleep(psql, 2)
            mine.send_signal(signal.SIGINT)
            assert _ends(mine) and mine.returncode != 0
        assert other.wait(timeout=PROMPT * SLOWNESS) == 0


def test_notify(psql: Psql):
    script = "LISTEN news;\nNOTIFY news, 'hello';\nSELECT 1;\nUNLISTEN news;\n"
    told = psql.out(stdin=script)
    assert 'Asynchronous notification "news" with payload "hello"' in told


def test_temporary_table_stays(psql: Psql):
    script = "CREATE TEMP TABLE mine (id int);\nINSERT INTO mine VALUES (1);\nSELECT * FROM mine;\n"
    assert psql.out(stdin=script) == "1"
    told = psql.run("-c", "SELECT * FROM mine", is_good=False)
    assert 'relation "mine" does not exist' in told.stderr


def test_settings_of_the_proxy(psql: Psql):
    script = "SET shardrouter.shard = 's0';\nSHOW shardrouter.shard;\nSELECT 1;\n"
    assert psql.out(stdin=script) == "s0\n1"
    told = psql.run("-c", "SET shardrouter.shard = 'nowhere'", is_good=False)
    assert "nowhere" in told.stderr


def test_a_refused_setting_costs_nothing_later(psql: Psql, pooling: str):
    """A read that waits for a replica came after a refusal, and was lost."""
    script = (
        "SELECT 1;\nSET shardrouter.shard = 'nowhere';\nSELECT 2;\n"
        "SET shardrouter.role = replica;\nSELECT pg_is_in_recovery();\n"
    )
    told = psql.run("-v", "ON_ERROR_STOP=0", stdin=script)
    assert "there is no shard 'nowhere'" in told.stderr
    if pooling == "transaction":
        assert told.stdout.split() in (["1", "2", "t"], ["1", "2", "f"])  # f: it lags behind
    else:
        assert "in session pooling a client keeps its node" in told.stderr
        assert told.stdout.split() == ["1", "2", "f"]


def test_password_and_conninfo(psql: Psql):
    """\\password asks the server how it hashes; \\conninfo tells what the server said of itself."""
    told = psql.out("-c", "\\conninfo", "-c", "SELECT current_setting('application_name')")
    assert psql.proxy.cluster.database in told
    assert told.endswith("psql-test")


def test_large_object(psql: Psql, tmp_path: Path):
    """\\lo_import and \\lo_export use function calls, not statements."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 500)
    number = psql.out(stdin=f"\\lo_import '{source}'\n\\echo :LASTOID\n").split()[-1]
    psql.run("-c", f"\\lo_export {number} '{target}'")
    assert target.read_bytes() == source.read_bytes()
    psql.run("-c", f"\\lo_unlink {number}")


def _major(psql: Psql) -> int:
    told = psql.programs.run("psql", "--version").stdout
    found = re.search(r"\) (\d+)", told)
    assert found is not None
    return int(found[1])


def _wait_asleep(psql: Psql, count: int = 1) -> None:
    """Wait until so many of this test's clients sleep on the server."""
    question = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'active' AND wait_event = 'PgSleep'"
    )
    with psql.proxy.cluster.connect("s0-p") as connection:
        eventually(lambda: connection.execute(question).fetchone() == (count,))


def _ends(running: subprocess.Popen[str]) -> bool:
    running.wait(timeout=PROMPT * SLOWNESS)
    return True
