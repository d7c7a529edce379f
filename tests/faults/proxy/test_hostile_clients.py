"""Clients that are slow, many, broken or mean: the others do not notice."""

import asyncio
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from shardrouter.wire import messages
from tests.plugins.fix_faults import Keep
from tests.plugins.fix_raw import ProxyLike, RawConnect
from tests.support.eventually import eventually
from tests.support.load import Load, echo
from tests.support.process_memory import resident_bytes
from tests.support.proxy import ProxyProcess
from tests.support.proxy_census import rows
from tests.support.raw_client import send_cancel

MEGABYTE = 1 << 20
PATIENT_SECONDS = 15.0


@pytest.fixture
def proxy(proxy_like: ProxyLike) -> ProxyProcess:
    return proxy_like(proxy={"login_timeout_seconds": 2}, proxy_pool={"size": 4})


@contextmanager
def undisturbed(proxy: ProxyProcess) -> Iterator[Load]:
    """Clients at work, and the worker that has them: both are as before at the end."""
    workers = proxy.worker_pids()
    with Load(proxy.connect, 2).running() as load:
        load.wait_for_more(5)
        yield load
        load.wait_for_more(5)
    assert load.failures() == []
    assert proxy.worker_pids() == workers
    assert "Traceback" not in proxy.log, proxy.log[-4000:]


def dial(proxy: ProxyProcess) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENT_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_to_the_end(sock: socket.socket) -> bytes:
    """Return all that is said until the connection ends; fail when it does not end."""
    found = b""
    with suppress(ConnectionError):
        while chunk := sock.recv(65536):
            found += chunk
    return found


# Before the login


def test_slow_loris(proxy: ProxyProcess, kept: Keep) -> None:
    """500 sockets that say a byte now and then: closed at the login timeout, others come in."""
    startup = messages.startup({"user": "postgres", "database": proxy.cluster.database})
    with undisturbed(proxy), ExitStack() as stack:
        slow = [stack.enter_context(closing(dial(proxy))) for _ in range(500)]
        began = time.monotonic()
        longest = 0.0
        for at in range(5):
            for sock in slow:
                with suppress(OSError):
                    sock.sendall(startup[at : at + 1])
            before = time.monotonic()
            with proxy.connect() as connection:
                echo(connection)
            longest = max(longest, time.monotonic() - before)
        for sock in slow:
            assert read_to_the_end(sock) == b""
        assert time.monotonic() - began < 2 + 6
        assert longest < 2


def test_giant_lengths(proxy: ProxyProcess) -> None:
    """1,000 sockets that declare 1 GB: nothing is set aside for what may never come."""
    hello = messages.startup({"user": "postgres", "database": proxy.cluster.database})
    with undisturbed(proxy), ExitStack() as stack:
        before = resident_bytes(proxy.worker_pids())
        sockets = [stack.enter_context(closing(dial(proxy))) for _ in range(1000)]
        for number, sock in enumerate(sockets):
            if number % 2:
                sock.sendall(hello + b"Q" + struct.pack("!I", (1 << 30) - 1) + b"SELECT 1 -- ")
            else:
                sock.sendall(struct.pack("!II", (1 << 30) - 1, 196608))
        with proxy.connect() as connection:
            echo(connection)
        assert resident_bytes(proxy.worker_pids()) - before < 64 * MEGABYTE


@pytest.mark.parametrize("request_", [messages.ssl_request(), b"\0\0\0\x08\x04\xd2\x16\x30"])
def test_a_storm_of_requests_on_one_connection(proxy: ProxyProcess, request_: bytes) -> None:
    """CVE-2026-6479: each at most once."""
    with undisturbed(proxy), closing(dial(proxy)) as sock:
        sock.sendall(request_)
        assert sock.recv(1) == b"N"
        with suppress(ConnectionError):
            sock.sendall(request_ * 10_000)
        assert read_to_the_end(sock).count(b"N") < 10


def test_a_storm_of_connections_that_ask_for_tls_and_go(proxy: ProxyProcess) -> None:
    with undisturbed(proxy):
        for _ in range(500):
            with closing(dial(proxy)) as sock:
                sock.sendall(messages.ssl_request())


NOISE = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(512),
    b"\xff" * 64,
    b"\0" * 64,
    b"\0\0\0\x07\0\0\0",
    b"\0\0\x27\x11\0\x03\0\0",  # 10,001 bytes
    struct.pack("!II", 8, 196608),
    struct.pack("!II", 12, 196608) + b"user",
    struct.pack("!II", 9, 4 << 16) + b"\0",
    struct.pack("!III", 16, 80877102, 1) + b"abcd",
    struct.pack("!III", 12, 80877102, 1),
)


@pytest.mark.parametrize("said", NOISE)
def test_noise_before_the_login(proxy: ProxyProcess, said: bytes) -> None:
    with undisturbed(proxy), closing(dial(proxy)) as sock:
        with suppress(OSError):
            sock.sendall(said)
            sock.shutdown(socket.SHUT_WR)
        answer = read_to_the_end(sock)
        assert answer == b"" or answer[:1] == b"E"


@seed(848)
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(said=st.binary(max_size=200), starts_well=st.booleans())
def test_garbage_before_the_login(proxy: ProxyProcess, said: bytes, starts_well: bool) -> None:
    if starts_well:
        said = struct.pack("!II", 8 + len(said), 196608) + said
    with closing(dial(proxy)) as sock:
        with suppress(OSError):
            sock.sendall(said)
            sock.shutdown(socket.SHUT_WR)
        answer = read_to_the_end(sock)
    assert answer[:1] in (b"", b"E", b"N", b"v", b"R")
    assert proxy.is_running()


# After the login

TYPES = b"QPBEDCSHFdcfpX" + bytes([0, 1, 65, 90, 127, 255])
frames = st.builds(
    lambda kind, body, lie: bytes([kind]) + struct.pack("!i", 4 + len(body) + lie) + body,
    st.sampled_from(TYPES),
    st.binary(max_size=60),
    st.sampled_from([0, 0, 0, 1, -1, -4, -70, 1 << 20, (1 << 30) + 1000]),
)
SENSIBLE = [
    messages.query("SELECT 1"),
    messages.query("BEGIN"),
    messages.query("SELECT 1/0"),
    messages.query("COPY (SELECT 1) TO STDOUT"),
    messages.query("COPY pg_temp.nothing FROM STDIN"),
    messages.parse("s", "SELECT $1::int"),
    messages.bind("", "s", [b"1"]),
    messages.execute("", 1),
    messages.describe(b"S", "s"),
    messages.close(b"S", "s"),
    messages.flush(),
    messages.sync(),
]
talks = st.lists(st.one_of(frames, st.sampled_from(SENSIBLE)), min_size=1, max_size=12)


@seed(759)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(talk=talks, cut=st.integers(0, 30), goes_on=st.booleans())
def test_garbage_after_the_login(
    proxy: ProxyProcess, talk: list[bytes], cut: int, goes_on: bool
) -> None:
    """Structure-aware: frames that lie, in any order, with sense between; cut anywhere."""
    said = b"".join(talk)
    said = said[: len(said) - cut] if cut and cut < len(said) else said
    say_and_leave(proxy, said + messages.sync() if goes_on else said)
    assert proxy.is_running()


def say_and_leave(proxy: ProxyProcess, said: bytes) -> bytes:
    hello = {"user": "postgres", "database": proxy.cluster.database}
    with closing(dial(proxy)) as sock:
        with suppress(OSError):
            sock.sendall(messages.startup(hello) + said)
            sock.shutdown(socket.SHUT_WR)
        return read_to_the_end(sock)


UNSAID = {
    "skipping": messages.describe(b"S", "nothing of that name"),
    "skipping a query": messages.describe(b"S", "nothing of that name")
    + messages.query("SELECT 1"),
    "a Flush that fails": messages.parse("", "SELECT 1") + b"H\0\0\0\5x",
    "a CopyDone too long": messages.query("BEGIN") + b"c\0\1\0\0" + bytes(65536 - 4),
}


@pytest.mark.parametrize("said", UNSAID.values(), ids=UNSAID)
@pytest.mark.parametrize("pause_seconds", [0.0, 0.05])
def test_who_leaves_amid_an_exchange_costs_nobody_a_statement(
    proxy_like: ProxyLike, said: bytes, pause_seconds: float
) -> None:
    """A server that skips to the next Sync would skip the statements of the next client."""
    proxy = proxy_like(proxy_pool={"size": 1})
    hello = messages.startup({"user": "postgres", "database": proxy.cluster.database})
    with proxy.connect() as connection:
        for _ in range(5):
            with closing(dial(proxy)) as sock:
                sock.sendall(hello + said)
                time.sleep(pause_seconds)
            for _ in range(3):
                echo(connection)


def test_garbage_beside_others(proxy: ProxyProcess) -> None:
    """What the mean ones leave behind on the shared backends hurts nobody."""
    rng = random.Random(45)
    with undisturbed(proxy):
        for _ in range(500):
            sensible = rng.choices(SENSIBLE, k=rng.randrange(1, 5))
            lie = rng.choice([0, 0, 1, -1, -4, 1 << 20])
            frame = bytes([rng.choice(TYPES)]) + struct.pack("!i", 4 + lie)
            said = b"".join([*sensible, rng.choice([b"", frame, rng.randbytes(9)])])
            say_and_leave(proxy, said[: len(said) - rng.choice([0, 0, 0, 1, 7])])


def test_after_all_that_the_proxy_is_well(proxy: ProxyProcess) -> None:
    """Runs behind the two above, on the same process: nothing was left behind by them."""
    eventually(lambda: len(rows(proxy, "SHOW CLIENTS")) == 0)
    assert "Traceback" not in proxy.log, proxy.log[-4000:]
    assert "worker_failed" not in proxy.log
    with Load(proxy.connect, 8).running() as load:
        load.wait_for_more(100)
    assert load.failures() == []
    eventually(lambda: all(int(row["active"] or 0) == 0 for row in rows(proxy, "SHOW POOLS")))


# Cancels


async def test_a_storm_of_cancels_hits_only_the_owner(
    proxy_like: ProxyLike, raw: RawConnect
) -> None:
    """PgBouncer 717: the signal must not reach who has the backend next."""
    proxy = proxy_like(proxy_pool={"size": 1})
    owner, other = await raw(proxy), await raw(proxy)
    is_over = False
    seen: dict[str, int] = {}

    async def storm() -> None:
        while not is_over:
            await send_cancel(proxy.port, owner.pid, owner.key)

    async def work() -> None:
        for _ in range(150):
            got = await owner.value("SELECT 'owner', pg_sleep(0.001)")
            seen[got or ""] = seen.get(got or "", 0) + 1

    async def watch() -> None:
        while not is_over:
            assert await other.value("SELECT 'other'") == "other"

    storms = [asyncio.ensure_future(storm()) for _ in range(4)]
    watching = asyncio.ensure_future(watch())
    async with asyncio.timeout(40):
        await work()
        is_over = True
        await asyncio.gather(*storms, watching)
    assert set(seen) <= {"owner", "57014"}
    assert seen.get("57014", 0) > 0


async def test_cancels_with_wrong_keys_do_nothing(proxy: ProxyProcess, raw: RawConnect) -> None:
    owner = await raw(proxy)
    rng = random.Random(38)
    for _ in range(300):
        key = rng.randbytes(rng.choice([4, 4, 32, 256]))
        assert (
            await send_cancel(proxy.port, rng.choice([owner.pid, rng.getrandbits(31)]), key) == b""
        )
    assert await owner.value("SELECT 'alive'") == "alive"


def test_cancel_sockets_that_hang_do_not_stop_the_door(proxy: ProxyProcess) -> None:
    """Odyssey 1299."""
    with undisturbed(proxy), ExitStack() as stack:
        for _ in range(200):
            sock = stack.enter_context(closing(dial(proxy)))
            sock.sendall(messages.cancel_request(1, b"1234")[:-2])
        with proxy.connect() as connection:
            echo(connection)


# Slow readers


@pytest.mark.parametrize("megabytes", [64, pytest.param(1024, marks=pytest.mark.slow)])
def test_a_result_that_is_not_read(proxy: ProxyProcess, megabytes: int) -> None:
    hello = messages.startup({"user": "postgres", "database": proxy.cluster.database})
    text = f"SELECT repeat('x', 1048576) FROM generate_series(1, {megabytes})"
    with undisturbed(proxy) as load:
        before = resident_bytes(proxy.worker_pids())
        with closing(dial(proxy)) as sock:
            sock.sendall(hello + messages.query(text))
            until = time.monotonic() + 1
            grown = 0
            while time.monotonic() < until:
                grown = max(grown, resident_bytes(proxy.worker_pids()) - before)
                load.wait_for_more(2)
            assert grown < 64 * MEGABYTE
            got = 0
            while got < megabytes * MEGABYTE:
                got += len(sock.recv(4 * MEGABYTE))
            grown = max(grown, resident_bytes(proxy.worker_pids()) - before)
            assert grown < 64 * MEGABYTE


def test_many_who_go_without_reading(proxy: ProxyProcess) -> None:
    hello = messages.startup({"user": "postgres", "database": proxy.cluster.database})
    text = "SELECT repeat('x', 1048576) FROM generate_series(1, 50)"
    with undisturbed(proxy), ExitStack() as stack:
        for _ in range(3):
            sock = stack.enter_context(closing(dial(proxy)))
            sock.sendall(hello + messages.query(text))
        time.sleep(0.3)


def test_both_directions_full_is_no_deadlock(proxy: ProxyProcess) -> None:
    """A client that sends without end while it does not read: it alone waits, then goes on."""
    hello = messages.startup({"user": "postgres", "database": proxy.cluster.database})
    big = messages.query("SELECT repeat('x', 1000000) /* " + "y" * 1_000_000 + " */")
    with undisturbed(proxy), closing(dial(proxy)) as sock:

        def send() -> None:
            sock.sendall(hello + big * 30)

        sender = threading.Thread(target=send)
        sender.start()
        time.sleep(0.3)
        got = 0
        while got < 30_000_000:
            chunk = sock.recv(1 << 20)
            assert chunk
            got += len(chunk)
        sender.join(10)
        assert not sender.is_alive()
