"""What keeps a client on its backend is told, ends when it is gone, or is refused."""

import psycopg
import pytest

from shardrouter.wire import messages
from tests.support.eventually import eventually_async
from tests.support.proxy import ProxyProcess
from tests.support.raw_client import kinds

PINS = {
    "LISTEN": ("LISTEN pinned", ["UNLISTEN pinned", "UNLISTEN *", "DISCARD ALL"]),
    "advisory lock": (
        "SELECT pg_advisory_lock(66)",
        ["SELECT pg_advisory_unlock(66)", "SELECT pg_advisory_unlock_all()", "DISCARD ALL"],
    ),
    "cursor WITH HOLD": (
        "DECLARE pinned CURSOR WITH HOLD FOR SELECT 1",
        ["CLOSE pinned", "CLOSE ALL", "DISCARD ALL"],
    ),
    "temporary table": (
        "CREATE TEMP TABLE pinned (a int)",
        ["DROP TABLE pinned", "DISCARD TEMP", "DISCARD ALL"],
    ),
    "PREPARE": (
        "PREPARE pinned AS SELECT 1; SELECT 2",
        ["DEALLOCATE pinned", "DEALLOCATE ALL", "DISCARD ALL"],
    ),
    "setting of unknown name": (
        "SELECT set_config('my' || 'app.x', 'y', false)",
        ["DISCARD ALL"],
    ),
    "sequence state": ("SELECT setval('pin_seq', 5)", ["DISCARD ALL"]),
}
REFUSED = {
    "LISTEN": "LISTEN pinned",
    "advisory lock": "SELECT pg_advisory_lock(66)",
    "advisory lock, qualified": "SELECT pg_catalog.pg_try_advisory_lock(66)",
    "WITH HOLD": "DECLARE pinned CURSOR WITH HOLD FOR SELECT 1",
    "temporary": "CREATE TEMP TABLE pinned (a int)",
    "into temporary": "SELECT 1 AS a INTO TEMP pinned",
    "LOAD": "LOAD 'auto_explain'",
}
ALLOWED = [
    "SELECT pg_advisory_xact_lock(66)",
    "CREATE TEMP TABLE pinned ON COMMIT DROP AS SELECT 1",
    "SET work_mem = '7MB'",
    "DECLARE pinned CURSOR FOR SELECT 1",
    "NOTIFY pinned",
]


@pytest.fixture(scope="module", autouse=True)
def sequence(proxy_cluster):
    with proxy_cluster.connect("s0-p") as connection:
        connection.execute("CREATE SEQUENCE IF NOT EXISTS pin_seq")
        yield


def pinned(proxy: ProxyProcess) -> list[str | None]:
    """Return what pins the clients, as the admin database tells it."""
    with proxy.admin() as admin:
        cursor = admin.execute("SHOW CLIENTS")
        assert cursor.description is not None
        at = [column.name for column in cursor.description].index("pinned")
        return [row[at] for row in cursor.fetchall() if row[at]]


@pytest.mark.parametrize(("reason", "end"), [(r, e) for r, (_, ends) in PINS.items() for e in ends])
async def test_pin_is_told_and_ends(reason, end, proxy_like, raw):
    proxy = proxy_like(proxy_pool={"size": 2})
    client = await raw(proxy)
    await client.query(PINS[reason][0])
    await eventually_async(lambda: pinned(proxy) == [reason])
    assert kinds(await client.query(end)).endswith("CZ")
    await eventually_async(lambda: pinned(proxy) == [])


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("way", ["simple", "extended"])
@pytest.mark.parametrize("where", ["alone", "in a transaction"])
async def test_pin_that_is_refused(text, way, where, proxy_like, raw):
    proxy = proxy_like(proxy_pool={"size": 1}, proxy_session={"pinning": "refuse"})
    client = await raw(proxy)
    if where != "alone":
        await client.query("BEGIN")
    if way == "simple":
        answer = await client.query(text)
    else:
        answer = await client.ask(
            messages.parse("", text), messages.bind("", ""), messages.execute(), messages.sync()
        )
    errors = [m.fields() for m in answer if m.kind == "E"]
    assert [error["C"] for error in errors] == ["0A000"]
    assert "proxy_session.pinning" in errors[0]["H"]
    if where == "alone":
        assert answer[-1].body == b"I"
    else:
        assert answer[-1].body == b"E"
        assert await client.value("SELECT 1") == "25P02"
        assert (await client.query("COMMIT"))[0].body == b"ROLLBACK\0"
    assert await client.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"
    assert pinned(proxy) == []


@pytest.mark.parametrize("text", ALLOWED)
async def test_what_ends_with_its_transaction_is_not_refused(text, proxy_like, raw):
    proxy = proxy_like(proxy_pool={"size": 1}, proxy_session={"pinning": "refuse"})
    client, other = await raw(proxy), await raw(proxy)
    await client.query("BEGIN")
    assert kinds(await client.query(text)).endswith("CZ")
    await client.query("COMMIT")
    assert await other.value("SELECT 'free'") == "free"


async def test_notification_reaches_an_idle_client(proxy_like, raw):
    proxy = proxy_like(proxy_pool={"size": 2})
    listener, teller = await raw(proxy), await raw(proxy)
    await listener.query("LISTEN news")
    for number in range(3):
        await teller.query(f"NOTIFY news, '{number}'")
        message = await listener.read()
        assert message.kind == "A"
        assert message.body[4:] == b"news\0%d\0" % number
    assert await listener.value("SELECT 'still here'") == "still here"
    await listener.query("UNLISTEN *")
    await teller.query("NOTIFY news")
    assert kinds(await listener.query("SELECT 1")) == "TDCZ"


def test_notification_by_psycopg(proxy_like):
    proxy = proxy_like(proxy_pool={"size": 2})
    with proxy.connect() as listener, proxy.connect() as teller:
        listener.execute("LISTEN news")
        teller.execute("SELECT pg_notify('news', 'hello')")
        found = next(listener.notifies(timeout=10))
        assert (found.channel, found.payload) == ("news", "hello")


def test_pinned_client_whose_backend_is_killed_is_told(proxy_like, proxy_cluster):
    proxy = proxy_like(proxy_pool={"size": 2})
    with proxy.connect() as client:
        client.execute("LISTEN news")
        row = client.execute("SELECT pg_backend_pid()").fetchone()
        with proxy_cluster.connect("s0-p") as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", row)
        with pytest.raises(psycopg.OperationalError):
            for _ in range(100):
                client.execute("SELECT 1")
