"""A keeps what it has set, over transactions on a backend that B uses between them."""

import asyncpg
import pytest

from shardrouter.wire import messages
from tests.plugins.fix_raw import ProxyLike
from tests.support.proxy import ProxyProcess
from tests.support.raw_client import kinds


@pytest.fixture
def one(proxy_like: ProxyLike) -> ProxyProcess:
    return proxy_like(proxy_pool={"size": 1})


@pytest.fixture(scope="module", autouse=True)
def roles(proxy_cluster):
    with proxy_cluster.connect("s0-p") as connection:
        connection.execute("CREATE ROLE replay_member LOGIN")
        connection.execute("CREATE ROLE replay_group")
        connection.execute("GRANT replay_group TO replay_member")
        try:
            yield
        finally:
            connection.execute("DROP ROLE replay_member, replay_group")


SETTINGS = [
    ("SET search_path = one, two", "SHOW search_path", "one, two"),
    ("SET work_mem = '7MB'", "SHOW work_mem", "7MB"),
    ("SET TIME ZONE 'Asia/Tokyo'", "SHOW timezone", "Asia/Tokyo"),
    ("SET client_encoding = 'LATIN1'", "SHOW client_encoding", "LATIN1"),
    ("SET datestyle = 'German'", "SHOW datestyle", "German, DMY"),
    ("SET myapp.tenant = 'it''s \\ me'", "SHOW myapp.tenant", "it's \\ me"),
    ("SET ROLE pg_monitor", "SELECT current_user", "pg_monitor"),
    ("SET SESSION AUTHORIZATION replay_member", "SELECT session_user", "replay_member"),
    ("SET statement_timeout = '11s'", "SHOW statement_timeout", "11s"),
    ("SET application_name = 'me; SET ROLE x'", "SHOW application_name", "me; SET ROLE x"),
    ("SELECT set_config('work_mem', '8MB', false)", "SHOW work_mem", "8MB"),
    (
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SHOW transaction_isolation",
        "serializable",
    ),
]


@pytest.mark.parametrize(("put", "look", "value"), SETTINGS)
async def test_own_settings_follow_their_client(put, look, value, one, raw):
    mine, other = await raw(one), await raw(one)
    foreign = await other.value(look)
    assert foreign != value
    await mine.query(put)
    for _ in range(3):
        assert await mine.value(look) == value
        assert await other.value(look) in (foreign, "" if value else foreign)
        await mine.query("BEGIN")
        assert await mine.value(look) == value
        await mine.query("COMMIT")


async def test_many_settings_of_many_clients(one, raw):
    clients = [await raw(one) for _ in range(6)]
    for number, client in enumerate(clients):
        await client.query(f"SET search_path = s{number}")
        await client.query(f"SET myapp.number = '{number}'")
    for _ in range(5):
        for number, client in enumerate(clients):
            text = "SELECT current_setting('search_path') || current_setting('myapp.number')"
            assert await client.value(text) == f"s{number}{number}"


async def test_rolled_back_and_local_settings(one, raw):
    mine, other = await raw(one), await raw(one)
    await mine.query("SET work_mem = '5MB'")
    for end, local, value in (
        ("ROLLBACK", "", "5MB"),
        ("COMMIT", "LOCAL", "5MB"),
        ("COMMIT", "", "6MB"),
    ):
        await mine.query("BEGIN")
        await mine.query(f"SET {local} work_mem = '6MB'")
        assert await mine.value("SHOW work_mem") == "6MB"
        await mine.query(end)
        assert await other.value("SHOW work_mem") == "4MB"
        assert await mine.value("SHOW work_mem") == value


OPTIONS = {
    "work_mem": ("5MB", "4MB"),
    "search_path": ("mine", '"$user", public'),
    "myapp.tenant": ("t1", "42704"),
    "statement_timeout": ("9s", "0"),
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("way", ["options", "parameter"])
@pytest.mark.parametrize("reset", ["RESET {}", "RESET ALL", "SET {} TO DEFAULT", "DISCARD ALL"])
async def test_reset_returns_to_the_login(name, way, reset, one, raw):
    value, default = OPTIONS[name]
    given = {"options": f"-c {name}={value}"} if way == "options" else {name: value}
    mine, other = await raw(one, **given), await raw(one)
    assert await mine.value(f"SHOW {name}") == value
    assert await other.value(f"SHOW {name}") in (default, "")
    for begin, end in (("", ""), ("BEGIN", "COMMIT")):
        if begin and reset == "DISCARD ALL":
            continue
        await mine.query(f"SET {name} = '3000'")
        assert await mine.value(f"SHOW {name}") in ("3000kB", "3s", "3000", '"3000"')
        await mine.query(begin)
        await mine.query(reset.format(name))
        await mine.query(end)
        for _ in range(2):
            assert await mine.value(f"SHOW {name}") == value
            assert await other.value(f"SHOW {name}") in (default, "")


async def test_reset_behind_a_reset_in_the_same_packet(one, raw):
    mine = await raw(one, work_mem="5MB")
    await mine.query("SET work_mem = '6MB'")
    mine.send(messages.query("RESET work_mem"), messages.query("SHOW work_mem"))
    await mine.until("Z")
    values = [m.columns()[0] for m in await mine.until("Z") if m.kind == "D"]
    assert values in ([b"5MB"], [b"4MB"])  # it came before the proxy could know
    assert await mine.value("SHOW work_mem") == "5MB"


async def test_pinned_client_keeps_its_isolation_over_a_reset(one, raw):
    """What restores the login's settings must not land in the client's next transaction."""
    mine = await raw(one, work_mem="5MB")
    await mine.query("LISTEN something")
    for _ in range(20):
        mine.send(
            messages.query("RESET work_mem"),
            messages.query("BEGIN ISOLATION LEVEL REPEATABLE READ"),
        )
        await mine.until("Z")
        await mine.until("Z")
        assert await mine.value("SHOW transaction_isolation") == "repeatable read"
        assert kinds(await mine.query("COMMIT")) == "CZ"


async def test_parameters_are_reported_as_they_change(one, raw):
    mine, other = await raw(one), await raw(one)
    answer = await mine.query("SET TIME ZONE 'Asia/Tokyo'")
    assert [m.body for m in answer if m.kind == "S"] == [b"TimeZone\0Asia/Tokyo\0"]
    assert kinds(await other.query("SELECT 1")) == "TDCZ"
    assert kinds(await mine.query("SELECT 1")) == "TDCZ"


async def test_role_that_was_revoked(one, raw, proxy_cluster):
    mine, other = await raw(one, "replay_member"), await raw(one, "replay_member")
    await mine.query("SET ROLE replay_group")
    assert await other.value("SELECT current_user") == "replay_member"
    with proxy_cluster.connect("s0-p") as connection:
        connection.execute("REVOKE replay_group FROM replay_member")
        try:
            answer = await _to_the_end(mine, "SELECT current_user")
        finally:
            connection.execute("GRANT replay_group TO replay_member")
    assert kinds(answer) == "E"
    assert answer[0].fields()["C"] in ("42501", "22023")
    assert await other.value("SELECT current_user") == "replay_member"


async def _to_the_end(client, text):
    client.send(messages.query(text))
    found = []
    try:
        while True:
            found.append(await client.read())
    except ConnectionError:
        return found


async def test_extended_queries_with_parameters(one):
    mine, other = await asyncpg.connect(_url(one)), await asyncpg.connect(_url(one))
    try:
        query = "SELECT set_config('work_mem', $1, false)"
        await mine.fetchval(query, "7MB")
        await other.fetchval(query, "9MB")
        for _ in range(3):
            assert await mine.fetchval("SELECT current_setting('work_mem')") == "7MB"
            assert await other.fetchval("SHOW work_mem") == "9MB"
    finally:
        await mine.close()
        await other.close()


async def test_custom_setting_whose_name_is_a_parameter(proxy_like):
    two = proxy_like(proxy_pool={"size": 2})
    mine, other = await asyncpg.connect(_url(two)), await asyncpg.connect(_url(two))
    try:
        for name in ("myapp.tenant", "myapp.second"):
            await mine.fetchval("SELECT set_config($1, $2, false)", name, "a")
        for _ in range(3):
            query = "SELECT coalesce(current_setting($1, true), '')"
            assert await other.fetchval(query, "myapp.tenant") == ""
            assert await mine.fetchval(query, "myapp.second") == "a"
    finally:
        await mine.close()
        await other.close()


def _url(proxy: ProxyProcess) -> str:
    return f"postgresql://postgres@127.0.0.1:{proxy.port}/{proxy.cluster.database}?sslmode=disable"


@pytest.mark.parametrize(
    ("put", "look", "expected"),
    [
        ("SELECT set_config('work_mem', '7MB', false)", "SHOW work_mem", "4MB"),
        ("SELECT pg_advisory_lock(5)", "SELECT pg_try_advisory_lock(5)", "t"),
    ],
)
async def test_function_called_by_number_leaves_nothing(put, look, expected, one, raw):
    """The same by FunctionCall, whose text nobody sees: set_config is 2078, the lock 2880."""
    mine = await raw(one)
    arguments = [b"work_mem", b"7MB", b"f"] if "set_config" in put else [b"5"]
    number = 2078 if "set_config" in put else 2880
    body = number.to_bytes(4) + b"\0\0" + len(arguments).to_bytes(2)
    for argument in arguments:
        body += len(argument).to_bytes(4) + argument
    answer = await mine.ask(messages.typed(b"F", body + b"\0\0"))
    assert kinds(answer) == "VZ"
    mine.abort()
    other = await raw(one)
    assert await other.value(look) == expected
