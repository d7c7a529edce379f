"""Client A leaves state in its session and goes, or stays; client B looks on the same backend."""

from typing import NamedTuple

import pytest

from tests.plugins.fix_raw import ProxyLike, RawConnect
from tests.support.eventually import eventually_async
from tests.support.proxy import ProxyProcess
from tests.support.raw_client import RawClient, kinds

OWN_PATH = '"$user", public'


class Leak(NamedTuple):
    """What A does, what B asks, and what B would see on a connection of its own."""

    leave: str
    look: str
    own: str | None
    is_pin: bool = True


LEAKS = {
    "statement_timeout": Leak("SET statement_timeout = 7000", "SHOW statement_timeout", "0", False),
    "search_path": Leak("SET search_path = pg_catalog", "SHOW search_path", OWN_PATH, False),
    "role": Leak("SET ROLE pg_monitor", "SELECT current_user", "postgres", False),
    "temporary table": Leak("CREATE TEMP TABLE leaked (a int)", "TABLE leaked", "42P01"),
    "advisory lock": Leak(
        "SELECT pg_advisory_lock(77)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        "0",
    ),
    "LISTEN": Leak("LISTEN leaked", "SELECT count(*) FROM pg_listening_channels()", "0"),
    "cursor WITH HOLD": Leak(
        "DECLARE leaked CURSOR WITH HOLD FOR SELECT 1", "FETCH leaked", "34000"
    ),
    "PREPARE": Leak("PREPARE leaked AS SELECT 1", "EXECUTE leaked", "26000", False),
    "lastval": Leak("SELECT nextval('leak_seq')", "SELECT lastval()", "55000", False),
}
"""The nine of the probe that other proxies are measured by."""

MORE = {
    "session authorization": Leak(
        "SET SESSION AUTHORIZATION leak_user", "SELECT session_user", "postgres", False
    ),
    "set_config": Leak(
        "SELECT set_config('work_mem', '7MB', false)", "SHOW work_mem", "4MB", False
    ),
    "custom setting": Leak(
        "SET myapp.tenant = 'a'", "SELECT coalesce(current_setting('myapp.tenant', true), '')", "",
        False,
    ),
    "custom setting by function": Leak(
        "SELECT set_config('myapp.' || 'other', 'a', false)",
        "SELECT coalesce(current_setting('myapp.other', true), '')", "",
    ),
    "DO with set_config": Leak(
        "DO $$ BEGIN PERFORM set_config('work_mem', '7MB', false); END $$", "SHOW work_mem", "4MB",
        False,
    ),
    "DO with a custom setting": Leak(
        "DO $$ BEGIN PERFORM set_config('myapp.' || 'third', '7MB', false); END $$",
        "SELECT coalesce(current_setting('myapp.third', true), '')", "",
    ),
    "characteristics": Leak(
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SHOW default_transaction_read_only", "off", False,
    ),
    "SET in a transaction": Leak(
        "BEGIN; SET work_mem = '7MB'; COMMIT", "SHOW work_mem", "4MB", False
    ),
    "SET rolled back": Leak(
        "BEGIN; SET work_mem = '7MB'; ROLLBACK", "SHOW work_mem", "4MB", False
    ),
    "SET LOCAL": Leak("BEGIN; SET LOCAL work_mem = '7MB'; COMMIT", "SHOW work_mem", "4MB", False),
    "LOAD": Leak(
        "LOAD 'auto_explain'",
        "SELECT count(*) FROM pg_settings WHERE name LIKE 'auto_explain.%'", "0",
    ),
    "setseed": Leak("SELECT setseed(0.5)", "SELECT random() = 0.9851677175347999", "f"),
    "currval": Leak(
        "SELECT nextval('leak_seq')", "SELECT currval('leak_seq')", "55000", False
    ),
    "pg_settings": Leak(
        "UPDATE pg_settings SET setting = '7168' WHERE name = 'work_mem'", "SHOW work_mem", "4MB",
    ),
    "transaction left open": Leak(
        "BEGIN; CREATE TABLE leaked_table ()", "TABLE leaked_table", "42P01"
    ),
    "transaction failed": Leak("BEGIN; SELECT 1/0", "SELECT 'fine'", "fine"),
    "client_encoding": Leak(
        "SET client_encoding = 'LATIN1'", "SHOW client_encoding", "UTF8", False
    ),
}  # fmt: skip
ALL = {**LEAKS, **MORE}


@pytest.fixture(scope="session", autouse=True)
def things(proxy_cluster):
    """What the leaks need on the server."""
    with proxy_cluster.connect("s0-p") as connection:
        connection.execute("CREATE SEQUENCE leak_seq")
        connection.execute("CREATE ROLE leak_user")
        try:
            yield
        finally:
            connection.execute("DROP ROLE leak_user")


@pytest.fixture(params=["transaction", "session", "statement"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def one(proxy_like: ProxyLike, mode: str) -> ProxyProcess:
    """A proxy that has one backend."""
    return proxy_like(proxy_pool={"size": 1, "mode": mode})


@pytest.mark.parametrize("ending", ["clean", "abrupt"])
@pytest.mark.parametrize("name", ALL)
async def test_who_comes_later_sees_nothing(name, ending, mode, one, raw: RawConnect):
    leak = ALL[name]
    first = await raw(one)
    await _leave(first, leak, mode)
    if ending == "clean":
        await first.close()
    else:
        first.abort()
    second = await raw(one)
    assert await second.value(leak.look) == leak.own


@pytest.mark.parametrize("name", ALL)
async def test_who_comes_while_the_other_stays_sees_nothing(name, proxy_like, raw: RawConnect):
    leak = ALL[name]
    two = proxy_like(proxy_pool={"size": 2 if leak.is_pin else 1})
    first, second = await raw(two), await raw(two)
    await _leave(first, leak, "transaction")
    for _ in range(2):
        assert await second.value(leak.look) == leak.own


async def _leave(client: RawClient, leak: Leak, mode: str) -> None:
    """Do what leaves something; statement pooling may refuse it, or end the session."""
    try:
        for text in leak.leave.split("; ") if leak.leave.startswith("BEGIN") else [leak.leave]:
            if "E" in kinds(await client.query(text)) and text == "BEGIN":
                return
    except ConnectionError:
        assert mode == "statement"


async def test_lock_of_a_client_that_went_is_free(proxy_like, raw, proxy_cluster):
    one = proxy_like(proxy_pool={"size": 1})
    client = await raw(one)
    await client.query("SELECT pg_advisory_lock(78)")
    client.abort()
    with proxy_cluster.connect("s0-p") as connection:
        query = "SELECT pg_try_advisory_xact_lock(78)"
        await eventually_async(lambda: (connection.execute(query).fetchone() or (False,))[0])


@pytest.mark.parametrize(
    ("begin", "look"),
    [
        ("BEGIN", "SELECT lastval()"),
        ("BEGIN", "SELECT currval('leak_seq')"),
        ("BEGIN; SELECT 1", "SELECT lastval()"),
    ],
)
async def test_sequence_of_another_client_inside_a_transaction(begin, look, proxy_like, raw):
    one = proxy_like(proxy_pool={"size": 1})
    first, second = await raw(one), await raw(one)
    await first.query("SELECT nextval('leak_seq')")
    for text in begin.split("; "):
        await second.query(text)
    answer = await second.query(look)
    assert "D" not in kinds(answer)
    assert answer[-1].body == b"E"


async def test_own_sequence_inside_a_transaction(proxy_like, raw):
    one = proxy_like(proxy_pool={"size": 1})
    first, second = await raw(one), await raw(one)
    for _ in range(3):
        await second.query("SELECT nextval('leak_seq')")
        await first.query("BEGIN")
        drawn = await first.value("SELECT nextval('leak_seq')")
        assert await first.value("SELECT lastval()") == drawn
        await first.query("COMMIT")
        assert await first.value("SELECT currval('leak_seq')") == drawn
        await first.query("DISCARD ALL")
