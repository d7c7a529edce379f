"""What a client cannot do through the proxy is refused at once, and in words. See
docs/reference/proxy-compatibility.md.
"""

import psycopg
import pytest
from psycopg import errors

from tests.support.eventually import eventually
from tests.support.proxy import ProxyProcess


def pinned(proxy: ProxyProcess, name: str) -> str | None:
    with proxy.admin() as admin:
        cursor = admin.execute("SHOW CLIENTS")
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    [found] = [row["pinned"] for row in rows if row["application_name"] == name]
    return None if found is None else str(found)


@pytest.mark.parametrize("mode", ["database", "true"])
def test_replication(either: ProxyProcess, mode: str):
    words = "the proxy does not relay replication" if mode == "database" else "no rule of the proxy"
    with pytest.raises(psycopg.OperationalError, match=words):
        psycopg.connect(either.dsn(replication=mode))


def test_another_database(either: ProxyProcess):
    with pytest.raises(psycopg.OperationalError, match='database "elsewhere" does not exist'):
        psycopg.connect(either.dsn(database="elsewhere"))


def test_settings_of_the_login(either: ProxyProcess):
    for option, words in (
        ("no_such_setting=1", 'unrecognized configuration parameter "no_such_setting"'),
        ("work_mem=many", 'invalid value for parameter "work_mem"'),
        ("shardrouter.shard=nowhere", "there is no shard 'nowhere'"),
        ("shardrouter.role=boss", 'invalid value for parameter "shardrouter.role"'),
        ("shardrouter.color=red", 'unrecognized configuration parameter "shardrouter.color"'),
    ):
        with pytest.raises(psycopg.OperationalError, match=words):
            psycopg.connect(either.dsn(options=f"-c {option}"))


def test_settings_of_the_proxy_in_a_transaction(proxy: ProxyProcess):
    with proxy.connect() as connection:
        connection.execute("BEGIN")
        with pytest.raises(errors.ActiveSqlTransaction, match="stays on its shard and node"):
            connection.execute("SET shardrouter.role = replica")
        connection.execute("ROLLBACK")
        with pytest.raises(errors.ActiveSqlTransaction):
            connection.execute("SET LOCAL shardrouter.role = replica")
        with pytest.raises(errors.FeatureNotSupported, match="together with other statements"):
            connection.execute("SET shardrouter.role = replica; SELECT 1")
        with pytest.raises(errors.InvalidParameterValue, match="not understood"):
            connection.execute("SELECT set_config('shardrouter.role', 'replica', false)")
        assert connection.execute("SHOW shardrouter.role").fetchone() == ("primary",)


def test_another_node_while_pinned(proxy: ProxyProcess):
    with proxy.connect() as connection:
        connection.execute("CREATE TEMP TABLE mine (id int)")
        with pytest.raises(errors.ActiveSqlTransaction, match="pinned: temporary table"):
            connection.execute("SET shardrouter.role = replica")
        connection.execute("SET shardrouter.shard = 's0'")  # where it is already
        connection.execute("DROP TABLE mine")
        connection.execute("SET shardrouter.role = replica")
        # The primary answers while the replica has not replayed what this session wrote.
        ask = "SELECT pg_is_in_recovery()"
        eventually(lambda: connection.execute(ask).fetchone() == (True,))


@pytest.mark.parametrize("text", ["SET shardrouter.role = 'replica'", "RESET shardrouter.role"])
@pytest.mark.parametrize("is_prepared", [True, False])
def test_another_node_in_session_pooling(session_proxy: ProxyProcess, text: str, is_prepared: bool):
    """As a setting of the server, which takes any name, it would change nothing."""
    role = "primary" if text.startswith("SET") else "replica"
    with session_proxy.connect(role=role) as connection:
        if text.startswith("RESET") and not is_prepared:
            connection.execute(text)  # to what the login said, which it is
            return
        with pytest.raises(errors.ActiveSqlTransaction, match="a client keeps its node"):
            connection.execute(text, prepare=is_prepared)
        assert connection.execute("SHOW shardrouter.role", prepare=is_prepared).fetchone() == (
            role,
        )


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TEMP TABLE mine (id int)",
        "LISTEN news",
        "SELECT pg_advisory_lock(1)",
        "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
    ],
)
@pytest.mark.parametrize("is_prepared", [True, False])
def test_no_pins(refusing: ProxyProcess, text: str, is_prepared: bool):
    with refusing.connect() as connection:
        with pytest.raises(errors.FeatureNotSupported, match="not possible in transaction pooling"):
            connection.execute(text, prepare=is_prepared)
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.fixture
def refusing(special_proxy) -> ProxyProcess:
    made: ProxyProcess = special_proxy(proxy_session={"pinning": "refuse"})
    return made


def test_statement_pooling(special_proxy):
    """A client that begins a transaction is disconnected: its settings are wrong for this proxy."""
    statement = special_proxy(proxy_pool={"mode": "statement"})
    with statement.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        connection.execute("BEGIN; SELECT 1; COMMIT")
    for parameters in (None, ()):  # as a simple query, and prepared
        with (
            statement.connect() as connection,
            pytest.raises(errors.FeatureNotSupported, match="transactions of several statements"),
        ):
            connection.execute("BEGIN", parameters, prepare=parameters is not None)
    with pytest.raises(psycopg.Error), statement.connect() as connection:
        connection.execute("BEGIN; SELECT 1")
        connection.execute("SELECT 1")
    statement.wait_for_log("transactions of several statements are not possible in statement")


def test_no_backend_comes_free(special_proxy):
    sizes = {"size": 1, "checkout_timeout_seconds": 0.3}
    narrow = special_proxy(proxy_pool=sizes)
    with narrow.connect() as first, narrow.connect() as second:
        first.execute("BEGIN")
        with pytest.raises(errors.TooManyConnections, match="no backend of user postgres"):
            second.execute("SELECT 1")
        first.execute("COMMIT")
        assert second.execute("SELECT 1").fetchone() == (1,)


def test_logins_with_many_settings(special_proxy):
    """In session pooling each startup packet has backends of its own: idle ones give way."""
    narrow = special_proxy(proxy_pool={"mode": "session", "size": 2})
    for number in range(6):
        with narrow.connect(options=f"-c my.number={number}") as connection:
            assert connection.execute("SHOW my.number").fetchone() == (str(number),)
    with narrow.connect(options="-c my.number=7") as first:
        with narrow.connect(options="-c my.number=8"):
            pass
        first.execute("SELECT 1")
        with narrow.connect(options="-c my.number=9") as third:
            assert third.execute("SHOW my.number").fetchone() == ("9",)


def test_prepared_by_sql_pins_nobody(proxy: ProxyProcess):
    """The proxy's own statement on a backend looked like one of the client that came next."""
    with proxy.connect(application_name="by sql") as connection:
        connection.execute("PREPARE mine AS SELECT 1")
        connection.execute("SET work_mem = '5MB'")
        assert connection.execute("EXECUTE mine").fetchone() == (1,)
        assert pinned(proxy, "by sql") is None
        connection.execute("CREATE TEMP TABLE mine (id int)")
        connection.execute("SELECT 1")
        assert pinned(proxy, "by sql") == "temporary table"


def test_execute_among_others(proxy: ProxyProcess):
    with proxy.connect() as connection:
        connection.execute("PREPARE mine AS SELECT 1")
        with pytest.raises(errors.InvalidSqlStatementName, match='"mine" does not exist'):
            connection.execute("SELECT 2; EXECUTE mine")
        assert connection.execute("EXECUTE mine").fetchone() == (1,)


def test_numbers_of_sequences(proxy: ProxyProcess, schema: str):
    """What another transaction drew is not this one's to see, whoever drew it."""
    with proxy.connect() as connection:
        name = f"{schema}.numbers"
        connection.execute(f"CREATE SEQUENCE {name}")
        connection.execute(f"SELECT nextval('{name}')")
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="not yet defined"):
            connection.execute(f"SELECT currval('{name}')")
        for number in (2, 3):  # pinned from now on
            connection.execute(f"SELECT nextval('{name}')")
            assert connection.execute(f"SELECT currval('{name}')").fetchone() == (number,)
