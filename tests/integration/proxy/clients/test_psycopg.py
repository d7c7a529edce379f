"""psycopg through the proxy: pipelines, COPY, binary, cursors, two phases, notifies, cancel."""

import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors
from psycopg.rows import TupleRow, dict_row
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum

from tests.support.eventually import PATIENCE, eventually
from tests.support.proxy import ProxyProcess

Connection = psycopg.Connection[TupleRow]


@pytest.fixture
def connection(either: ProxyProcess, schema: str) -> Iterator[Connection]:
    """A connection with psycopg's defaults: transactions, statements prepared at the fifth use."""
    dsn = either.dsn(options=f"-c search_path={schema}")
    with psycopg.connect(dsn) as opened:
        opened.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
        opened.commit()
        yield opened


def one(connection: Connection, query: str, values: object = None) -> object:
    row = connection.execute(query.encode(), values).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


def test_prepare_threshold(connection: Connection):
    """Prepared on one backend, used on whichever comes next, in and out of transactions."""
    connection.prepare_threshold = 2
    for number in range(30):
        assert one(connection, "SELECT %s::int + 1", [number]) == number + 1
        if number % 3 == 0:
            connection.commit()
    connection.commit()


def test_statements_are_evicted(connection: Connection):
    """Beyond ``prepared_max`` psycopg sends DEALLOCATE."""
    connection.prepare_threshold, connection.prepared_max = 0, 3
    for turn in range(2):
        for number in range(8):
            assert one(connection, f"SELECT {number} + %s::int", [turn]) == number + turn
        connection.commit()


def test_schema_changes_under_a_prepared_statement(
    connection: Connection, either: ProxyProcess, schema: str
):
    connection.prepare_threshold = 0
    connection.execute("INSERT INTO item VALUES (1, 'one')")
    for _ in range(2):
        connection.execute("SELECT * FROM item").fetchall()
    connection.commit()
    with either.cluster.connect("s0-p") as other:
        other.execute(f"ALTER TABLE {schema}.item ADD COLUMN more int DEFAULT 7")
    with pytest.raises(errors.FeatureNotSupported, match="cached plan"):
        connection.execute("SELECT * FROM item")
    connection.rollback()  # psycopg forgets what it has prepared, and prepares it again
    for _ in range(3):
        assert connection.execute("SELECT * FROM item").fetchone() == (1, "one", 7)
        connection.commit()


def test_stale_plans_are_told_once(either: ProxyProcess, schema: str, pooling: str):
    """One client's error is enough for all that prepare the statement after it."""
    if pooling == "session":
        pytest.skip("in session pooling every client has its own plans, as without a proxy")
    query = f"SELECT * FROM {schema}.shared"
    with either.cluster.connect("s0-p") as direct:
        direct.execute(f"CREATE TABLE {schema}.shared AS SELECT 1 AS a")
        clients = [either.connect(prepare_threshold=0) for _ in range(4)]
        for client in clients:
            client.execute("BEGIN")  # so that each has a backend of its own
            client.execute(query)
        for client in clients:
            client.execute("COMMIT")
        direct.execute(f"ALTER TABLE {schema}.shared ADD COLUMN b int DEFAULT 2")
    with pytest.raises(errors.FeatureNotSupported):
        clients[0].execute(query)
    for client in clients:
        client.close()
    fresh = [either.connect(prepare_threshold=0) for _ in range(6)]
    for client in fresh:
        client.execute("BEGIN")
        assert client.execute(query).fetchone() == (1, 2)
    for client in fresh:
        client.close()


def test_binary(connection: Connection):
    cursor = connection.cursor(binary=True)
    cursor.execute("SELECT 1::int8, 2.5::numeric, '{1,2}'::int[], now()::date, 'x'::bytea")
    row = cursor.fetchone()
    assert row is not None and row[:3] == (1, 2.5, [1, 2]) and row[4] == b"x"


def test_pipeline(connection: Connection):
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int", [n]) for n in range(300)]
    assert [c.fetchone() for c in cursors] == [(n,) for n in range(300)]


def test_pipeline_with_an_error(connection: Connection):
    connection.autocommit = True
    with pytest.raises(errors.DivisionByZero):
        with connection.pipeline() as pipeline:
            connection.execute("INSERT INTO item VALUES (1, 'one')")
            pipeline.sync()
            connection.execute("SELECT 1/0")
            connection.execute("INSERT INTO item VALUES (2, 'two')")
            pipeline.sync()
    assert one(connection, "SELECT count(*) FROM item") == 1


def test_executemany_returning(connection: Connection):
    with connection.cursor() as cursor:
        rows = [(n, str(n)) for n in range(500)]
        cursor.executemany("INSERT INTO item VALUES (%s, %s) RETURNING id", rows, returning=True)
        assert sum(1 for _ in cursor.results()) == 500
    connection.commit()
    assert one(connection, "SELECT count(*) FROM item") == 500


@pytest.mark.parametrize("form", ["TEXT", "BINARY"])
def test_copy(connection: Connection, form: str):
    rows = [(n, "x" * (n % 50)) for n in range(5000)]
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY item FROM STDIN (FORMAT {form})") as copy:
            copy.set_types(["int4", "text"])
            for row in rows:
                copy.write_row(row)
        with cursor.copy(
            f"COPY (SELECT * FROM item ORDER BY id) TO STDOUT (FORMAT {form})"
        ) as copy:
            copy.set_types(["int4", "text"])
            assert list(copy.rows()) == rows


def test_copy_given_up(connection: Connection):
    with pytest.raises(ZeroDivisionError):
        with connection.cursor().copy("COPY item FROM STDIN") as copy:
            copy.write_row((1, "one"))
            _ = 1 / 0
    connection.rollback()
    with pytest.raises(ZeroDivisionError):
        with connection.cursor().copy("COPY (SELECT generate_series(1, 99999)) TO STDOUT") as copy:
            assert bytes(copy.read()).startswith(b"1")
            _ = 1 / 0  # psycopg cancels the COPY
    connection.rollback()
    assert one(connection, "SELECT count(*) FROM item") == 0


def test_server_cursor(connection: Connection):
    connection.execute("INSERT INTO item SELECT g, g::text FROM generate_series(1, 1000) g")
    with connection.cursor("mine", row_factory=dict_row) as cursor:
        cursor.itersize = 100
        cursor.execute("SELECT id FROM item ORDER BY id")
        assert [row["id"] for row in cursor] == list(range(1, 1001))
    with connection.cursor("two", scrollable=True) as scrolled:
        scrolled.execute("SELECT id FROM item ORDER BY id")
        scrolled.scroll(500)
        assert scrolled.fetchone() == (501,)
        scrolled.scroll(0, mode="absolute")
        assert scrolled.fetchone() == (1,)


def test_cursor_with_hold(connection: Connection):
    """It outlives its transaction: the client keeps its backend until it is closed."""
    with connection.cursor("held", withhold=True) as cursor:
        cursor.execute("SELECT generate_series(1, 10)")
        assert cursor.fetchone() == (1,)
        connection.commit()
        assert cursor.fetchmany(3) == [(2,), (3,), (4,)]
        connection.commit()
    connection.commit()


def test_streamed_rows(connection: Connection):
    with connection.cursor() as cursor:
        stream = cursor.stream("SELECT generate_series(1, 3000)", size=7)
        assert [n for (n,) in stream] == list(range(1, 3001))


def test_two_phases(connection: Connection, either: ProxyProcess, schema: str):
    xid = connection.xid(1, schema, "branch")
    connection.tpc_begin(xid)
    connection.execute("INSERT INTO item VALUES (1, 'one')")
    connection.tpc_prepare()
    # Another connection finishes what this one prepared.
    with psycopg.connect(either.dsn(options=f"-c search_path={schema}")) as other:
        assert str(xid) in {str(found) for found in other.tpc_recover()}
        other.rollback()
        other.tpc_commit(xid)
        assert one(other, "SELECT count(*) FROM item") == 1
    connection.close()


def test_two_phases_rolled_back(connection: Connection, schema: str):
    connection.tpc_begin(connection.xid(1, schema, "other branch"))
    connection.execute("INSERT INTO item VALUES (1, 'one')")
    connection.tpc_prepare()
    connection.tpc_rollback()
    assert one(connection, "SELECT count(*) FROM item") == 0


def test_savepoints(connection: Connection):
    with connection.transaction():
        connection.execute("INSERT INTO item VALUES (1, 'one')")
        with pytest.raises(errors.UniqueViolation), connection.transaction():
            connection.execute("INSERT INTO item VALUES (1, 'again')")
        with connection.transaction("named"):
            connection.execute("INSERT INTO item VALUES (2, 'two')")
    assert one(connection, "SELECT count(*) FROM item") == 2


def test_isolation_and_read_only(connection: Connection):
    connection.rollback()
    connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    connection.read_only = True
    assert one(connection, "SHOW transaction_isolation") == "serializable"
    with pytest.raises(errors.ReadOnlySqlTransaction):
        connection.execute("INSERT INTO item VALUES (1, 'one')")
    connection.rollback()


def test_notifies(connection: Connection, either: ProxyProcess, schema: str):
    connection.autocommit = True
    connection.execute(f"LISTEN {schema}")
    with either.connect() as other:
        for number in range(3):
            other.execute("SELECT pg_notify(%s, %s)", [schema, str(number)])
    heard = connection.notifies(timeout=10 * PATIENCE, stop_after=3)
    assert [notify.payload for notify in heard] == ["0", "1", "2"]
    connection.execute("UNLISTEN *")


@pytest.mark.parametrize("is_safe", [True, False])
def test_cancel(connection: Connection, either: ProxyProcess, is_safe: bool):
    cancel = connection.cancel_safe if is_safe else connection.cancel
    with either.cluster.connect("s0-p") as onlooker:
        ask = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(611%'"
        timer = threading.Thread(
            target=lambda: eventually(lambda: one(onlooker, ask) == 1) and cancel()
        )
        timer.start()
        with pytest.raises(errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(611)")
        timer.join()
    connection.rollback()
    assert one(connection, "SELECT 1") == 1


def test_types_of_ones_own(connection: Connection):
    connection.execute("CREATE TYPE mood AS ENUM ('glad', 'sad')")
    connection.execute("CREATE TYPE pair AS (a int, m mood)")
    connection.commit()
    mood, pair = EnumInfo.fetch(connection, "mood"), CompositeInfo.fetch(connection, "pair")
    assert mood is not None and pair is not None
    register_enum(mood, connection)
    register_composite(pair, connection)
    found = one(connection, "SELECT ARRAY[(1, 'glad')::pair]")
    assert [(each.a, each.m.name) for each in found] == [(1, "glad")]  # type: ignore[attr-defined]


def test_what_the_server_says(connection: Connection, either: ProxyProcess, pooling: str):
    info = connection.info
    with either.cluster.connect("s0-p") as direct:
        assert info.server_version == direct.info.server_version
        assert info.encoding == direct.info.encoding
        assert info.timezone == direct.info.timezone
    is_own = info.backend_pid == one(connection, "SELECT pg_backend_pid()")
    assert is_own or pooling == "transaction"


def test_settings_follow(connection: Connection):
    """What SET says is true for the next transaction, on whichever backend."""
    connection.execute("SET TIME ZONE 'Asia/Tokyo'")
    connection.execute("SELECT set_config('my.tenant', 'acme', false)")
    connection.commit()
    for _ in range(3):
        assert one(connection, "SHOW timezone") == "Asia/Tokyo"
        assert one(connection, "SELECT current_setting('my.tenant')") == "acme"
        connection.commit()
    assert str(connection.info.timezone) == "Asia/Tokyo"


def test_reset_while_pinned(either: ProxyProcess):
    """RESET brings back what the login said, and the client is told what holds."""
    with either.connect(client_encoding="LATIN1", application_name="mine") as connection:
        connection.execute("CREATE TEMP TABLE pinned (id int)")
        connection.execute("RESET ALL")

        def told() -> bool:
            connection.execute("SELECT 1")
            name = connection.info.parameter_status("application_name")
            return (name, connection.info.encoding) == ("mine", "iso8859-1")

        eventually(told)
        assert one(connection, "SHOW client_encoding") == "LATIN1"
        assert connection.execute("SELECT 'ü'::text, %s::text", ["ü"]).fetchone() == ("ü", "ü")
