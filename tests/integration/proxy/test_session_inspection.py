"""A real server says what its session holds, whatever the client did to it before."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import psycopg
import pytest
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

from shardrouter.local import LocalFleet
from shardrouter.proxy.relay.backend import INSPECTION_TRIES
from shardrouter.sql import (
    DISCARD_SQL,
    LEAVES_SOMETHING,
    Effect,
    Residue,
    effects_of,
    inspection_sql,
    is_plain,
    read_inspection,
    sync_sql,
)
from tests.support.cluster import Connection
from tests.support.eventually import eventually

PRIMARY, REPLICA = "s0-p", "s0-r1"
LOGIN_USER = "postgres"
NAMES = ("myapp.tenant", "MyApp.Other", "never.set")

Open = Callable[..., Connection]


@pytest.fixture
def connect(local_fleet: LocalFleet) -> Iterator[Open]:
    """Open connections to a primary or its replica; ``inspected_weak`` has no rights."""
    with ExitStack() as stack:

        def open_connection(node: str = PRIMARY, **options: Any) -> Connection:
            return stack.enter_context(local_fleet.node(node).connect("postgres", **options))

        with open_connection() as admin:
            if admin.execute("SELECT 1 FROM pg_roles WHERE rolname = 'inspected_weak'").rowcount:
                admin.execute("DROP ROLE inspected_weak")
            admin.execute("CREATE ROLE inspected_weak")
            [lsn] = admin.execute("SELECT pg_current_wal_lsn()").fetchone() or [None]
            caught_up = "SELECT pg_last_wal_replay_lsn() >= %s"
            with open_connection(REPLICA) as replica:
                eventually(lambda: replica.execute(caught_up, [lsn]).fetchone() == (True,))
            yield open_connection
            admin.execute("DROP SCHEMA IF EXISTS evil CASCADE")


def talk(connection: Connection, sql: str) -> list[tuple[str | None, ...]]:
    """Run a text as a simple query, and return the rows of all its statements."""
    pgconn = connection.pgconn
    pgconn.send_query(sql.encode("ascii"))
    rows: list[tuple[str | None, ...]] = []
    errors: list[psycopg.Error] = []
    while result := pgconn.get_result():
        if result.status == ExecStatus.FATAL_ERROR:
            errors.append(error_from_result(result))
        for row in range(result.ntuples):
            values = [result.get_value(row, column) for column in range(result.nfields)]
            rows.append(tuple(None if v is None else v.decode("ascii") for v in values))
    for error in errors:
        raise error
    return rows


def inspect(connection: Connection, **options: Any) -> Residue:
    for _ in range(INSPECTION_TRIES):  # a timeout of 1 ms counts until the text has switched it off
        with suppress(psycopg.errors.QueryCanceled):
            return read_inspection(talk(connection, inspection_sql(NAMES, **options)), LOGIN_USER)
    raise AssertionError("every try was cancelled")


def run(connection: Connection, statements: str) -> None:
    for statement in statements.split(" ;; "):
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    ("statements", "residue"),
    [
        ("SELECT 1", Residue()),
        ("BEGIN ;; SET LOCAL work_mem = 1024 ;; COMMIT", Residue()),
        ("BEGIN ;; SET work_mem = 1024 ;; ROLLBACK", Residue()),
        ("SET work_mem = '1MB'", Residue((("work_mem", "1024"),))),
        ("SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE", Residue((("timezone", "<-08>+08"),))),
        ("SET statement_timeout = '1ms'", Residue((("statement_timeout", "1"),))),
        (
            "SET search_path TO \"$user\", 'a b', c",
            Residue((("search_path", '"$user", "a b", c'),)),
        ),
        ("SET myapp.tenant = '5'", Residue((("myapp.tenant", "5"),))),
        ("SET myapp.tenant = '5' ;; RESET myapp.tenant", Residue()),
        ("SET \"MyApp\".other = 'é''\\x'", Residue((("myapp.other", "é'\\x"),))),
        (
            "UPDATE pg_settings SET setting = 1024 WHERE name = 'work_mem'",
            Residue((("work_mem", "1024"),)),
        ),
        ("SET ROLE inspected_weak", Residue(role="inspected_weak")),
        (
            "SET SESSION AUTHORIZATION inspected_weak",
            Residue(session_authorization="inspected_weak"),
        ),
        ("LISTEN a", Residue(pins=("LISTEN",))),
        ("LISTEN a ;; UNLISTEN *", Residue()),
        ("SELECT pg_advisory_lock(1)", Residue(pins=("advisory lock",))),
        ("SELECT pg_try_advisory_lock_shared(1, 2)", Residue(pins=("advisory lock",))),
        ("SELECT pg_advisory_xact_lock(1)", Residue()),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", Residue(pins=("cursor WITH HOLD",))),
        ("BEGIN ;; DECLARE c CURSOR FOR SELECT 1 ;; COMMIT", Residue()),
        ("CREATE TEMP TABLE x ()", Residue(pins=("temporary table",))),
        ("CREATE TEMP TABLE x () ;; DROP TABLE x", Residue()),
        ("BEGIN ;; CREATE TEMP TABLE x () ON COMMIT DROP ;; COMMIT", Residue()),
        ("SELECT 1 AS a INTO TEMP x", Residue(pins=("temporary table",))),
        ("CREATE TEMP SEQUENCE x", Residue(pins=("temporary table",))),
        ("CREATE TEMP VIEW x AS SELECT 1", Residue(pins=("temporary table",))),
        ("CREATE TYPE pg_temp.x AS ENUM ('a')", Residue(pins=("temporary table",))),
        (
            "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            Residue(pins=("temporary table",)),
        ),
        ("PREPARE p AS SELECT 1", Residue(pins=("PREPARE",))),
        ("PREPARE p AS SELECT 1 ;; DEALLOCATE p", Residue()),
        ("PREPARE _sr12 AS SELECT 1", Residue()),
        (
            "SET search_path = pg_temp ;; CREATE TABLE x ()",
            Residue((("search_path", "pg_temp"),), pins=("temporary table",)),
        ),
    ],
)
def test_what_a_session_holds(connect: Open, statements: str, residue: Residue) -> None:
    connection = connect()
    run(connection, statements)
    assert inspect(connection) == residue
    flags = Effect.NONE
    for statement in statements.split(" ;; "):
        flags |= effects_of(statement.encode()).flags
    if residue != Residue():
        assert flags & LEAVES_SOMETHING
        assert not all(is_plain(statement.encode()) for statement in statements.split(" ;; "))


def test_every_kind_of_state_goes_with_discard(connect: Open) -> None:
    connection = connect()
    before = connect().execute("SHOW work_mem").fetchone()
    run(
        connection,
        "SET work_mem = 1024 ;; SET myapp.tenant = 1 ;; LISTEN a ;; SELECT pg_advisory_lock(1) ;; "
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1 ;; CREATE TEMP TABLE x (y serial) ;; "
        "INSERT INTO x DEFAULT VALUES ;; PREPARE p AS SELECT 1 ;; "
        "SET SESSION AUTHORIZATION inspected_weak ;; SET ROLE inspected_weak",
    )
    left = inspect(connection)
    assert len(left.pins) == 5
    assert dict(left.settings) == {"work_mem": "1024", "myapp.tenant": "1"}
    assert left.role == left.session_authorization == "inspected_weak"
    talk(connection, DISCARD_SQL)
    assert inspect(connection) == Residue()
    assert connection.execute("SHOW work_mem").fetchone() == before
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        connection.execute("SELECT lastval()")


def test_discard_leaves_what_is_forever(connect: Open) -> None:
    """Why such a backend is closed."""
    connection = connect()
    connection.execute("SELECT setseed(0.5)")
    first = connection.execute("SELECT random()").fetchone()
    connection.execute("SET seed = 0.5")
    talk(connection, DISCARD_SQL)
    assert connection.execute("SELECT random()").fetchone() == first


def test_startup_parameters_are_no_residue(connect: Open) -> None:
    connection = connect(options="-c work_mem=2MB -c myapp.tenant=7", client_encoding="latin1")
    assert dict(inspect(connection).settings) == {"myapp.tenant": "7"}
    connection.execute("SET work_mem = '3MB'")
    talk(connection, sync_sql(inspect(connection), Residue()))
    assert connection.execute("SHOW work_mem").fetchone() == ("2MB",)
    assert connection.execute("SHOW myapp.tenant").fetchone() == ("7",)


HARD_SESSIONS = {
    "role without rights": "SET ROLE inspected_weak",
    "user without rights": "SET SESSION AUTHORIZATION inspected_weak",
    "read only": "SET default_transaction_read_only = on",
    "serializable, deferrable": (
        "SET default_transaction_isolation = serializable ;; "
        "SET default_transaction_read_only = on ;; SET default_transaction_deferrable = on"
    ),
    "row_security": "SET row_security = off",
    "statement_timeout": "SET statement_timeout = '1ms' ;; SET lock_timeout = 1",
    "strings": "SET standard_conforming_strings = off ;; SET backslash_quote = off",
    "output": "SET bytea_output = escape ;; SET datestyle = 'SQL, DMY'",
    "messages": "SET client_min_messages = debug5 ;; SET lc_messages = 'C'",
    "SJIS": "SET client_encoding = 'SJIS'",
    "quotes": "SET quote_all_identifiers = on ;; SET transform_null_equals = on",
}


@pytest.mark.parametrize("statements", HARD_SESSIONS.values(), ids=HARD_SESSIONS.keys())
@pytest.mark.parametrize("node", [PRIMARY, REPLICA])
def test_a_hard_session_is_moved_to_another_backend_and_back(
    connect: Open, node: str, statements: str
) -> None:
    connection, other = connect(node), connect(node)
    run(connection, "SET myapp.tenant = 'é''\\' ;; SET work_mem = 1024")
    run(connection, statements)
    held = inspect(connection)
    assert {"myapp.tenant": "é'\\", "work_mem": "1024"}.items() <= dict(held.settings).items()
    assert len(held.settings) + bool(held.role != "none") + bool(held.session_authorization) > 2
    talk(other, sync_sql(Residue(), held))
    assert inspect(other) == held
    talk(other, sync_sql(held, Residue()))
    assert inspect(other) == Residue()
    talk(other, sync_sql(Residue(), held))
    talk(other, sync_sql(held, Residue((("work_mem", "2048"),))))
    assert inspect(other) == Residue((("work_mem", "2048"),))


def test_a_transaction_of_others_is_not_waited_for(connect: Open) -> None:
    """A deferrable one waits until no serializable transaction writes."""
    connection, busy = connect(), connect()
    busy.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
    busy.execute("SELECT count(*) FROM pg_class")
    run(connection, HARD_SESSIONS["serializable, deferrable"])
    connection.execute("SET statement_timeout = '100ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute("SELECT 1")
    held = inspect(connection)
    assert len(held.settings) == 4
    talk(connection, sync_sql(held, Residue((("work_mem", "1024"),))))
    assert inspect(connection) == Residue((("work_mem", "1024"),))


HOSTILE = """
CREATE SCHEMA evil;
CREATE FUNCTION evil.refuse() RETURNS boolean LANGUAGE plpgsql AS
  $$ BEGIN RAISE 'the client''s code ran'; END $$;
CREATE FUNCTION evil.current_setting(text) RETURNS text LANGUAGE sql AS
  'SELECT evil.refuse()::text';
CREATE FUNCTION evil.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS
  'SELECT evil.refuse()::text';
CREATE FUNCTION evil.encode(bytea, text) RETURNS text LANGUAGE sql AS 'SELECT evil.refuse()::text';
CREATE FUNCTION evil.same(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT evil.refuse()';
CREATE FUNCTION evil.same(name, text) RETURNS boolean LANGUAGE sql AS 'SELECT evil.refuse()';
CREATE FUNCTION evil.same(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT evil.refuse()';
CREATE FUNCTION evil.same(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT evil.refuse()';
CREATE OPERATOR evil.= (FUNCTION = evil.same, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR evil.<> (FUNCTION = evil.same, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR evil.= (FUNCTION = evil.same, LEFTARG = name, RIGHTARG = text);
CREATE OPERATOR evil.= (FUNCTION = evil.same, LEFTARG = oid, RIGHTARG = oid);
CREATE OPERATOR evil.= (FUNCTION = evil.same, LEFTARG = int, RIGHTARG = int);
CREATE VIEW evil.pg_settings AS SELECT evil.refuse();
CREATE VIEW evil.pg_locks AS SELECT evil.refuse();
CREATE DOMAIN evil.text AS int;
CREATE DOMAIN evil.regclass AS int;
"""


def test_a_search_path_runs_no_code_of_the_client(connect: Open) -> None:
    connection, other = connect(), connect()
    connection.execute(HOSTILE)
    connection.execute("CREATE TEMP VIEW pg_settings AS SELECT evil.refuse()")
    connection.execute("SET search_path = evil, pg_temp, pg_catalog")
    with pytest.raises(psycopg.errors.RaiseException):
        connection.execute("SELECT 'a'::pg_catalog.text = 'b'::pg_catalog.text")
    held = inspect(connection)
    assert held == Residue(
        (("search_path", "evil, pg_temp, pg_catalog"),), pins=("temporary table",)
    )
    talk(other, sync_sql(Residue(), held))
    talk(other, sync_sql(held, Residue((*held.settings, ("work_mem", "1024")))))
    assert dict(inspect(other).settings)["work_mem"] == "1024"
    talk(other, sync_sql(inspect(other), Residue()))
    assert inspect(other) == Residue()


def test_settings_alone_cost_less_and_tell_the_same(connect: Open) -> None:
    connection = connect()
    run(connection, "SET work_mem = 1024 ;; LISTEN a")
    assert inspect(connection, with_pins=False) == Residue((("work_mem", "1024"),))


def test_a_value_that_is_refused_changes_nothing(connect: Open) -> None:
    connection = connect()
    connection.execute("SET work_mem = 1024")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="does not exist"):
        talk(connection, sync_sql(inspect(connection), Residue(role="nobody_of_this_name")))
    assert inspect(connection) == Residue((("work_mem", "1024"),))


def test_what_a_login_may_set_is_given_before_a_role_that_may_not(connect: Open) -> None:
    connection, other = connect(), connect()
    run(connection, "SET log_statement = 'all' ;; SET ROLE inspected_weak")
    held = inspect(connection)
    assert held == Residue((("log_statement", "all"),), role="inspected_weak")
    talk(other, sync_sql(Residue(), held))
    more = Residue((*held.settings, ("log_duration", "on")), role="inspected_weak")
    talk(other, sync_sql(held, more))
    assert dict(inspect(other).settings) == dict(more.settings)


def test_a_setting_hidden_from_a_role_goes_with_the_role(connect: Open) -> None:
    connection = connect()
    run(connection, "SET session_preload_libraries = 'x' ;; SET ROLE inspected_weak")
    held = inspect(connection)
    assert held == Residue(role="inspected_weak")
    talk(connection, sync_sql(held, Residue()))
    assert inspect(connection) == Residue()


def test_discard_plans_keeps_prepared_statements(connect: Open) -> None:
    connection = connect()
    run(connection, "PREPARE p AS SELECT 1 ;; DISCARD PLANS")
    assert connection.execute("EXECUTE p").fetchone() == (1,)
