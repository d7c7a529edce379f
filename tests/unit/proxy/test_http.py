"""/metrics, /health and /ready, over real sockets of a loop of its own."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from shardrouter.control.tasks import spawn
from shardrouter.errors import SettingsError
from shardrouter.proxy.telemetry import http
from shardrouter.proxy.telemetry.health import WorkerHealth, health_of, readiness_of
from shardrouter.proxy.telemetry.http import serve_http
from shardrouter.proxy.telemetry.retired import Retired
from tests.support.eventually import eventually_async
from tests.support.proxy_snapshots import snapshot


def healthy(**changes: Any) -> WorkerHealth:
    answer: dict[str, Any] = {
        "worker": 0,
        "epoch": 7,
        "lease_valid": True,
        "nodes_up": 3,
        "nodes": 4,
        "problem": None,
    }
    return answer | changes  # type: ignore[return-value]


class Source:
    """A parent with one worker."""

    def __init__(self) -> None:
        self.retired = Retired()
        self.retired.born(101)
        self.workers = 1
        self.unready: str | None = None
        self.answers: dict[str, list[Any]] = {"health": [healthy()], "metrics": [snapshot(101)]}
        self.hangs = False
        self.asked = 0

    async def ask_all(self, verb: str) -> list[Any]:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        return self.answers[verb]


@pytest.fixture
def source() -> Source:
    return Source()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@asynccontextmanager
async def serving(source: Source) -> AsyncIterator[int]:
    port = free_port()
    task = spawn(serve_http(f"127.0.0.1:{port}", source), name="http")
    try:
        await eventually_async(lambda: is_open(port))
        yield port
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


async def get(port: int, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    writer.close()
    status, *lines = head.decode().split("\r\n")
    headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, body


async def test_metrics(source: Source) -> None:
    async with serving(source) as port:
        status, headers, body = await get(port, "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    assert "server" not in headers
    assert b"shardrouter_proxy_clients 5.0" in body


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_health_and_readiness_are_json(path: str, source: Source) -> None:
    async with serving(source) as port:
        status, headers, body = await get(port, path)
        assert (status, json.loads(body)["status"]) == (200, "ok")
        assert headers["content-type"] == "application/json"
        source.answers["health"] = []
        status, _, body = await get(port, path)
        assert (status, json.loads(body)["status"]) == (503, "failed")


async def test_nothing_else_is_there(source: Source) -> None:
    async with serving(source) as port:
        assert (await get(port, "/"))[0] == 404
        assert (await get(port, "/metrics", "POST"))[0] == 405
        assert (await get(port, "/metrics", "HEAD"))[0] == 200


async def test_workers_that_hang_do_not_hang_the_answer(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "ANSWER_SECONDS", 0.02)
    async with serving(source) as port:
        assert (await get(port, "/metrics"))[0] == 200
        source.hangs = True
        assert (await get(port, "/health"))[0] == 503
        status, _, body = await get(port, "/metrics")
    assert status == 200
    assert b"shardrouter_proxy_logins_total 20.0" in body  # of its last answer


async def test_it_stops_at_once_and_lets_go_of_the_port(source: Source) -> None:
    async with serving(source) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)  # idle
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    async with serving(source):
        pass
    assert not is_open(port)


async def test_it_stops_while_an_answer_hangs(source: Source) -> None:
    source.hangs = True
    async with serving(source) as port:
        hanging = spawn(get(port, "/health"), name="hanging")
        await eventually_async(lambda: source.asked)
    with suppress(Exception):
        await hanging
    assert not is_open(port)


async def test_signals_stay_the_parents(source: Source) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    async with serving(source):
        during = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert during == before


async def test_a_port_that_is_taken_is_an_error_of_the_settings(source: Source) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SettingsError, match=r"proxy\.http_listen"):
            await serve_http(listen, source)


@pytest.mark.parametrize("listen", ["nonsense", "256.256.256.256:1", "host.invalid:80"])
async def test_an_address_that_is_none(listen: str, source: Source) -> None:
    with pytest.raises(SettingsError, match=r"proxy\.http_listen"):
        await serve_http(listen, source)


async def test_large_headers_are_refused(source: Source) -> None:
    async with serving(source) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 3 * http.MOST_HEADER_BYTES)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert b" 400 " in answer.split(b"\r\n")[0]


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost", b"POST"])
async def test_a_request_that_does_not_arrive_is_closed(
    sent: bytes, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.05)
    async with serving(source) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_a_second_request_that_does_not_arrive_is_closed(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.05)
    async with serving(source) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in await asyncio.wait_for(reader.readline(), 5)
        await asyncio.sleep(0.1)
        writer.write(b"GET /hea")
        await asyncio.wait_for(reader.read(), 5)
        writer.close()


async def test_connections_are_bounded(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MOST_CONNECTIONS", 2)
    async with serving(source) as port:
        await asyncio.sleep(0.05)  # the probe of `serving` is gone
        kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        for _, each in (*kept, (reader, writer)):
            each.close()


@pytest.mark.parametrize(
    ("answers", "is_ready", "reason"),
    [
        ([healthy()], True, None),
        ([healthy(), healthy(worker=1, nodes_up=0)], True, None),
        ([healthy(nodes_up=0)], False, "no node is reached"),
        ([healthy(epoch=0, problem="no catalog")], False, "no topology: no catalog"),
        ([healthy(), healthy(worker=1, lease_valid=False)], False, "lease of worker 1 is over"),
        ([], False, "no worker answers"),
    ],
)
def test_what_ready_means(answers: list[WorkerHealth], is_ready: bool, reason: str | None) -> None:
    verdict = readiness_of(answers, len(answers))
    assert verdict.is_well == is_ready
    assert (reason or "") in "; ".join(verdict.reasons)
    assert bool(verdict.reasons) == (reason is not None)


def test_a_draining_proxy_is_not_ready_but_healthy() -> None:
    assert not readiness_of([healthy()], 1, unready="it drains").is_well
    assert health_of([healthy()], 1).is_well


@pytest.mark.parametrize("judge", [health_of, readiness_of])
def test_a_missing_worker_is_told_and_no_failure(judge: Callable[..., Any]) -> None:
    verdict = judge([healthy()], 2)
    assert verdict.is_well
    assert verdict.reasons == ("1 of 2 workers do not answer",)
    assert verdict.to_json()["epochs"] == [7]
