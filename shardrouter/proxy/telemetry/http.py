"""Serve /metrics, /health and /ready inside the parent process.

Every request asks the workers, with a deadline: one that hangs is left out of the answer. The
bounds are small, because nobody but a scraper and a load balancer has business here.
"""

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Iterator
from typing import Any, Final, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from shardrouter.config import parse_address
from shardrouter.errors import SettingsError
from shardrouter.proxy.telemetry.health import Verdict, health_of, readiness_of
from shardrouter.proxy.telemetry.metrics_export import CONTENT_TYPE, to_prometheus
from shardrouter.proxy.telemetry.retired import Retired

logger = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 5.0  # of the workers; scrapers give up after 10
MOST_CONNECTIONS: Final = 64
MOST_HEADER_BYTES: Final = 8192
IDLE_SECONDS: Final = 20  # more than the 15 a scraper pauses, so that it keeps its connection
REQUEST_SECONDS: Final = 10.0  # for a request to arrive
STOP_SECONDS: Final = 1  # for answers that are on their way when the parent stops
DATE_EVERY_SECONDS: Final = 1.0


class HttpSource(Protocol):
    """What the parent knows."""

    @property
    def retired(self) -> Retired: ...

    @property
    def workers(self) -> int:
        """How many workers should run."""

    @property
    def unready(self) -> str | None:
        """Why it may get no clients, whatever the workers say."""

    async def ask_all(self, verb: str) -> list[Any]:
        """Return the answers of the workers that answer."""


async def serve_http(listen: str, source: HttpSource) -> None:
    """Serve until cancelled. Raises SettingsError when the address cannot be listened on."""
    sock = _bound(listen)
    config = Config(
        http_app(source),
        http=_BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        workers=1,
    )
    logger.info("http_listens address=%s", listen)
    server = _InnerServer(config)
    try:
        await server.serve([sock])
    finally:
        # Cancelled: uvicorn has not shut down, and would leave the port and its clients open.
        if server.started:
            await server.shutdown([sock])
        sock.close()


def http_app(source: HttpSource) -> Starlette:
    """Return the application."""

    async def metrics(request: Request) -> Response:
        text = to_prometheus(await _asked(source, "metrics"), source.retired)
        return Response(text, media_type=CONTENT_TYPE)

    async def health(request: Request) -> Response:
        return _response(health_of(await _asked(source, "health"), source.workers))

    async def ready(request: Request) -> Response:
        answers = await _asked(source, "health")
        return _response(readiness_of(answers, source.workers, unready=source.unready))

    return Starlette(
        routes=[
            Route("/metrics", metrics, methods=["GET"]),
            Route("/health", health, methods=["GET"]),
            Route("/ready", ready, methods=["GET"]),
        ]
    )


async def _asked(source: HttpSource, verb: str) -> list[Any]:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await source.ask_all(verb)
    except TimeoutError:
        logger.warning("workers_silent verb=%s seconds=%g", verb, ANSWER_SECONDS)
        return []


def _response(verdict: Verdict) -> Response:
    return Response(
        json.dumps(verdict.to_json()) + "\n",
        status_code=200 if verdict.is_well else 503,
        media_type="application/json",
        headers={"cache-control": "no-store"},
    )


def _bound(listen: str) -> socket.socket:
    host, port = parse_address(listen, "proxy.http_listen")
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, number)
    except OSError as error:
        raise _cannot_listen(listen, error) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(MOST_CONNECTIONS)
    except OSError as error:
        sock.close()
        raise _cannot_listen(listen, error) from error
    return sock


def _cannot_listen(listen: str, error: OSError) -> SettingsError:
    return SettingsError(
        f"proxy.http_listen = {listen!r}: {error.strerror or error}",
        hint="choose another address or port, or leave it empty for no HTTP",
    )


class _InnerServer(Server):
    """A server inside somebody else's event loop: no signal handlers, no ticking."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # SIGTERM drains the proxy: that is the parent's to decide

    async def main_loop(self) -> None:
        while True:  # until cancelled
            await self.on_tick(0)
            await asyncio.sleep(DATE_EVERY_SECONDS)


class _BoundedProtocol(H11Protocol):
    """Closes connections that are too many, or whose request does not arrive."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._end_if_idle)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_answering and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        elif not self._is_answering and self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self._end_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _end_if_idle(self) -> None:
        self._deadline = None
        if not self._is_answering:
            self.transport.close()
