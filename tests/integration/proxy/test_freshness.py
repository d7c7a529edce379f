"""Which node answers: by role and attributes, and only one that has what the session wrote."""

import asyncpg
import psycopg
import pytest

from tests.plugins.fix_raw import ProxyLike
from tests.support.eventually import eventually
from tests.support.proxy import ProxyProcess

IN_RECOVERY = "SELECT pg_is_in_recovery()"


@pytest.fixture
def proxy(proxy_like: ProxyLike) -> ProxyProcess:
    return proxy_like(proxy_pool={"size": 3})


@pytest.fixture
def patient(proxy_like: ProxyLike) -> ProxyProcess:
    """Waits for a replica longer than any busy machine lets it wait, or says why it has none."""
    return proxy_like(routing={"replica_fallback": "error", "catch_up_wait_ms": 20_000})


@pytest.fixture
def table(proxy_cluster):
    with proxy_cluster.connect("s0-p") as connection:
        connection.execute("CREATE TABLE fresh (id int PRIMARY KEY, value int)")
        connection.execute("INSERT INTO fresh VALUES (1, 0)")
    proxy_cluster.wait_replayed("s0-r1")
    yield
    with proxy_cluster.connect("s0-p") as connection:
        connection.execute("DROP TABLE fresh")


def one(connection, query, *given):
    row = connection.execute(query, given or None).fetchone()
    return row and row[0]


@pytest.mark.parametrize(("role", "expected"), [("primary", False), ("replica", True)])
@pytest.mark.parametrize("way", ["options", "SET", "set by Parse"])
def test_role(role, expected, way, patient):
    with patient.connect(role=role if way == "options" else None) as connection:
        if way == "SET":
            connection.execute(f"SET shardrouter.role = '{role}'")
        elif way != "options":
            connection.execute(f"SET shardrouter.role = '{role}'", prepare=True)
        assert one(connection, "SHOW shardrouter.role") == role
        for _ in range(3):
            assert one(connection, IN_RECOVERY) is expected
            assert one(connection, "SELECT pg_is_in_recovery() AND %s", True) is expected
        connection.execute("RESET shardrouter.role")
        assert one(connection, IN_RECOVERY) is (expected if way == "options" else False)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ("read-write", False),
        ("primary", False),
        ("read-only", True),
        ("standby", True),
        ("prefer-standby", True),
        ("any", False),
    ],
)
@pytest.mark.parametrize("by", ["libpq", "options"])
def test_target_session_attrs(wish, expected, by, patient):
    """As libpq's own parameter it is checked by libpq, and must hold."""
    options = f"-c shardrouter.target_session_attrs={wish}"
    if by == "libpq":
        role = "replica" if expected else "primary"
        connection = patient.connect(role=role, target_session_attrs=wish)
    else:
        connection = patient.connect(options=options)
    with connection:
        assert one(connection, IN_RECOVERY) is expected
        status = connection.info.parameter_status("in_hot_standby")
        assert status == ("on" if expected else "off")


def test_hot_standby_is_told_when_the_role_changes(patient):
    with patient.connect() as connection:
        for role, status in (("replica", "on"), ("primary", "off")) * 2:
            connection.execute(f"SET shardrouter.role = '{role}'")
            connection.execute("SELECT 1")
            assert connection.info.parameter_status("in_hot_standby") == status


@pytest.mark.parametrize(
    ("begin", "expected"),
    [
        ("BEGIN READ ONLY", True),
        ("START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", True),
        ("BEGIN", False),
        ("BEGIN READ WRITE", False),
    ],
)
@pytest.mark.parametrize("prepare", [False, True])
def test_auto(begin, expected, prepare, patient, table):
    with patient.connect(role="auto") as connection:
        for _ in range(3):
            connection.execute(begin, prepare=prepare)
            assert one(connection, IN_RECOVERY) is expected
            connection.execute("COMMIT", prepare=prepare)
            assert one(connection, IN_RECOVERY) is False
            connection.execute("UPDATE fresh SET value = value + 1")
            connection.execute("BEGIN")
            connection.execute("UPDATE fresh SET value = value + 1")
            connection.execute("COMMIT")


def test_write_on_a_replica_is_refused_by_it(patient, table):
    with patient.connect(role="replica") as connection:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("UPDATE fresh SET value = 5")
        assert one(connection, IN_RECOVERY) is True


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_own_write_is_always_read(protocol, proxy, table):
    """1,000 of 1,000, as the session changes its role between write and read."""
    of_replica = 0
    with proxy.connect(role="primary") as connection:
        for number in range(500):
            if protocol == "simple":
                connection.execute(f"UPDATE fresh SET value = {number} WHERE id = 1")
            else:
                connection.execute("UPDATE fresh SET value = %s WHERE id = 1", [number])
            connection.execute("SET shardrouter.role = 'replica'")
            row = connection.execute("SELECT value, pg_is_in_recovery() FROM fresh").fetchone()
            assert row is not None
            assert row[0] == number
            of_replica += row[1]
            connection.execute("SET shardrouter.role = 'primary'")
    assert of_replica > 0


def test_paused_replay_falls_back_to_the_primary(proxy, table, proxy_cluster):
    with proxy.connect() as connection:
        with proxy_cluster.replay_paused("s0-r1"):
            for number in range(5):
                connection.execute("UPDATE fresh SET value = %s", [number])
                connection.execute("SET shardrouter.role = 'replica'")
                row = connection.execute("SELECT value, pg_is_in_recovery() FROM fresh").fetchone()
                assert row == (number, False)
                connection.execute("SET shardrouter.role = 'primary'")
        connection.execute("SET shardrouter.role = 'replica'")
        proxy_cluster.wait_replayed("s0-r1")
        connection.execute("RESET shardrouter.role")
        connection.execute("UPDATE fresh SET value = 6")
        connection.execute("SET shardrouter.role = 'replica'")
        eventually(lambda: one(connection, IN_RECOVERY))


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_paused_replay_is_an_error_when_that_is_wanted(protocol, proxy_like, table, proxy_cluster):
    strict = proxy_like(routing={"replica_fallback": "error", "catch_up_wait_ms": 50})
    with strict.connect() as connection, proxy_cluster.replay_paused("s0-r1"):
        connection.execute("UPDATE fresh SET value = 77")
        connection.execute("SET shardrouter.role = 'replica'")
        with pytest.raises(psycopg.OperationalError) as caught:
            connection.execute("TABLE fresh", prepare=protocol == "extended")
        assert caught.value.sqlstate == "57P03"
        assert "replica_fallback" in (caught.value.diag.message_hint or "")
        connection.execute("SET shardrouter.role = 'primary'")
        assert one(connection, "SELECT value FROM fresh") == 77


def token_of(connection: psycopg.Connection) -> str:
    return str(one(connection, "SHOW shardrouter.token"))


def test_token_carries_a_write_to_another_session(proxy, proxy_like, table, proxy_cluster):
    """The other session is of another proxy, which knows of the write by the token only."""
    elsewhere = proxy_like(proxy_pool={"size": 2})
    with proxy.connect() as writer, elsewhere.connect(role="replica") as reader:
        for number in range(100):
            writer.execute("UPDATE fresh SET value = %s", [number])
            token = token_of(writer)
            reader.execute(f"SET shardrouter.token = '{token}'")
            assert one(reader, "SELECT value FROM fresh") == number
        with proxy_cluster.replay_paused("s0-r1"):
            writer.execute("UPDATE fresh SET value = -1")
            assert one(reader, "SELECT value FROM fresh") == 99
            token = token_of(writer)
            reader.execute(f"SET shardrouter.token = '{token}'")
            row = reader.execute("SELECT value, pg_is_in_recovery() FROM fresh").fetchone()
            assert row == (-1, False), (token, token_of(reader))


async def test_token_by_extended_queries(proxy, table, proxy_cluster):
    """A SHOW that is prepared once tells the token of the moment, each time."""
    url = f"postgresql://postgres@127.0.0.1:{proxy.port}/{proxy.cluster.database}?sslmode=disable"
    writer = await asyncpg.connect(url)
    reader = await asyncpg.connect(url, server_settings={"shardrouter.role": "replica"})
    try:
        for number in range(20):
            await writer.fetchval("UPDATE fresh SET value = $1", number)
            token = await writer.fetchval("SHOW shardrouter.token")
            with proxy_cluster.replay_paused("s0-r1") if number == 10 else _nothing():
                await reader.execute(f"SET shardrouter.token = '{token}'")
                assert await reader.fetchval("SELECT value FROM fresh") == number
    finally:
        await writer.close()
        await reader.close()


class _nothing:
    def __enter__(self):
        return None

    def __exit__(self, *given):
        return None


@pytest.mark.parametrize("session", [False, True])
def test_token_inside_of_what_is_kept(session, proxy_like, table):
    """A pinned client's commits count, though its backend was never given back."""
    kept = proxy_like(proxy_pool={"size": 3, "mode": "session"} if session else {"size": 3})
    with kept.connect() as writer:
        writer.execute("LISTEN something")
        before = token_of(writer)
        writer.execute("UPDATE fresh SET value = 8")
        writer.execute("UPDATE fresh SET value = 9")
        assert token_of(writer) != before


@pytest.mark.parametrize("text", ["nonsense", "s0", "s0:1:0/0:x", "'", "s0=", "\\"])
@pytest.mark.parametrize("prepare", [False, True])
def test_malformed_token(text, prepare, proxy):
    with proxy.connect() as connection:
        quoted = text.replace("'", "''")
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(f"SET shardrouter.token = '{quoted}'", prepare=prepare)
            connection.execute("SELECT 1", prepare=prepare)
        assert caught.value.sqlstate == "22023"


def test_commit_costs_no_statement_more(proxy_like, table, proxy_cluster):
    """The server counts as many transactions as the client ran."""
    alone = proxy_like(proxy_pool={"size": 1}, monitor={"every_ms": 5000})
    query = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    with alone.connect() as connection:
        connection.execute("SELECT 1")
        connection.execute("SELECT pg_stat_force_next_flush()")
        before = one(connection, query)
        for number in range(200):
            connection.execute("UPDATE fresh SET value = %s", [number])
        connection.execute("SELECT pg_stat_force_next_flush()")
        after = one(connection, query)
    assert 200 <= after - before <= 215
