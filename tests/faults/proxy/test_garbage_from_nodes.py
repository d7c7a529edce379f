"""A node that speaks garbage: only the client that asked it fails, and is told so."""

import asyncio
import struct

import psycopg
import pytest

from shardrouter.wire import messages
from tests.plugins.fix_faults import Keep, MakeRelay
from tests.plugins.fix_proxy import MakeProxy
from tests.support.chaos_relay import ChaosRelay
from tests.support.cluster import Cluster
from tests.support.load import Load, echo
from tests.support.proxy import ProxyProcess
from tests.support.raw_client import RawClient
from tests.support.rerouted import Rerouted

WORD = "tell me lies"


def typed(kind: bytes, body: bytes, lie: int = 0) -> bytes:
    return kind + struct.pack("!i", 4 + len(body) + lie) + body


GOOD = messages.row_description(["a"]) + messages.data_row([b"1"])
DONE = messages.command_complete("SELECT 1")

LIES: dict[str, bytes] = {
    "a negative length": GOOD + typed(b"D", b"", -5),
    "a length of zero": GOOD + b"D\0\0\0\0",
    "a giant length": GOOD + b"D\x7f\xff\xff\xff" + b"x" * 100,
    "an unknown type": GOOD + typed(b"?", b"what"),
    "type zero": GOOD + typed(b"\0", b""),
    "text": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "all ones": b"\xff" * 4096,
    "zeros": bytes(4096),
    "ready too early": GOOD + typed(b"1", b"") + messages.ready(),
    "a long ready": GOOD + DONE + typed(b"Z", b"II"),
    "a short ready": GOOD + DONE + typed(b"Z", b""),
    "two readies": GOOD + DONE + messages.ready() + messages.ready(),
    "authentication": typed(b"R", b"\0\0\0\0"),
    "a key": typed(b"K", b"12345678"),
    "bind complete": typed(b"2", b"") * 3,
    "an endless error": b"E\x3f\xff\xff\xff" + b"x" * 200_000,
    "a copy nobody wanted": typed(b"W", b"\0\0\0"),
}
CUT: dict[str, bytes] = {
    "nothing": b"",
    "half a header": GOOD + b"D\0\0",
    "half a row": GOOD + b"D\0\0\0\x20half",
    "half an error": b"E\0\0\0\x40SERROR\0",
    "an error of no fields": typed(b"E", b""),
    "an error without an end": typed(b"E", b"SERROR\0C22012"),
    "no ready": GOOD + DONE,
}
UNSAID = {
    "two readies",  # the first was right
    "an endless error",
    "half a row",
}
"""Where a message had begun to go through, only the end of the connection can tell."""


@pytest.fixture
def relay(fragile: Cluster, relay_to: MakeRelay) -> ChaosRelay:
    return relay_to(fragile.fleet.node("s0-p").port)


@pytest.fixture(scope="module")
def liar(fragile_fleet, tmp_path_factory):
    """One relay and one proxy for all lies."""
    relay = ChaosRelay(fragile_fleet.node("s0-p").port)
    folder = tmp_path_factory.mktemp("liar")
    cluster = Cluster(fragile_fleet, 7999, folder / "shardrouter.toml")
    cluster.make()
    proxy = ProxyProcess(
        Rerouted(cluster, {"s0-p": relay.port}),
        folder,
        shards=("s0",),
        proxy_pool={"size": 4, "connect_timeout_seconds": 1, "query_timeout_seconds": 1},
    )
    try:
        yield relay, proxy.start()
    finally:
        proxy.destroy()
        relay.close()
        cluster.drop()


async def lied_to(relay: ChaosRelay, proxy: ProxyProcess, lie: bytes, closes: bool) -> bytes:
    """Ask what is answered by a lie, while others work; return what the client got."""
    worker = proxy.worker_pids()
    relay.lies = {WORD.encode(): lie}
    relay.closes_after_lie = closes
    with Load(proxy.connect, 2).running() as load:
        load.wait_for_more(3)
        client = await RawClient.connect(proxy.port, proxy.cluster.database)
        client.send(messages.query(f"SELECT '{WORD}'"))
        said = b""
        for _ in range(2):
            try:
                while True:
                    message = await client.read()
                    said += message.kind.encode()
                    if message.kind == "Z":
                        break
                if closes or "two" in said.decode():
                    continue
            except ConnectionError:
                break
            client.send(messages.query("SELECT 'behind it'"))
        client.abort()
        await asyncio.sleep(0)
        relay.lies = {}
        load.wait_for_more(5)
    assert load.failures() == []
    assert proxy.worker_pids() == worker
    assert "Traceback" not in proxy.log, proxy.log[-3000:]
    return said


@pytest.mark.parametrize("lie", LIES)
async def test_lies(liar, lie: str) -> None:
    relay, proxy = liar
    said = await lied_to(relay, proxy, LIES[lie], closes=False)
    assert said.endswith(b"E") or lie in UNSAID, said


@pytest.mark.parametrize("lie", CUT)
async def test_lies_that_end(liar, lie: str) -> None:
    relay, proxy = liar
    said = await lied_to(relay, proxy, CUT[lie], closes=True)
    assert b"E" in said or lie in UNSAID, said
    assert b"DD" not in said  # no word of ours in the place of the rest of a row


@pytest.mark.slow
def test_a_node_that_is_no_postgres_at_login(
    make_proxy: MakeProxy, fragile: Cluster, relay: ChaosRelay, kept: Keep
) -> None:
    proxy = make_proxy(
        on=Rerouted(fragile, {"s0-p": relay.port}),
        shards=("s0",),
        proxy_pool={"checkout_timeout_seconds": 1, "connect_timeout_seconds": 0.5},
    )
    for lie in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"E\0\0\0\4"):
        relay.lies = {b"liar\0": lie}
        relay.closes_after_lie = True
        with pytest.raises(psycopg.OperationalError) as refused:
            kept(proxy.connect(application_name="x", user="liar"))
        assert str(refused.value).strip()
        with proxy.connect() as connection:
            echo(connection)
    assert "Traceback" not in proxy.log
