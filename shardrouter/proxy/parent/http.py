"""Keep the HTTP endpoints served, and know what they need: workers, and what the dead counted."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from shardrouter.control.tasks import spawn, supervised
from shardrouter.errors import SettingsError
from shardrouter.proxy.parent.crew import Crew
from shardrouter.proxy.telemetry.http import serve_http
from shardrouter.proxy.telemetry.retired import Retired

logger = logging.getLogger(__name__)

AGAIN_SECONDS: Final = 1.0  # a predecessor may hold the port for a moment


class ParentHttp:
    """The source of /metrics, /health and /ready, and their server."""

    def __init__(self, listen: str, crew: Crew, unready: Callable[[], str | None]) -> None:
        self.retired = Retired()
        self._listen = listen
        self._crew = crew
        self._unready = unready
        self._server: asyncio.Task[None] | None = None

    @property
    def workers(self) -> int:
        return self._crew.size

    @property
    def unready(self) -> str | None:
        return self._unready()

    async def ask_all(self, verb: str) -> list[Any]:
        """Return the answers of the workers that give one."""
        return await self._crew.answers(verb)

    def start(self, on_refusal: Callable[[SettingsError], None] | None) -> None:
        """Serve where the settings say; without ``on_refusal`` try until the port is free."""
        if self._listen:
            serve = supervised(lambda: self._serve(on_refusal), name="http")
            self._server = spawn(serve, name="http")

    async def stop(self) -> None:
        """Let go of the port."""
        if self._server is not None:
            self._server.cancel()
            with suppress(asyncio.CancelledError):
                await self._server
            self._server = None

    async def _serve(self, on_refusal: Callable[[SettingsError], None] | None) -> None:
        told = ""
        while True:
            try:
                await serve_http(self._listen, self)
            except SettingsError as error:
                if on_refusal is not None:
                    on_refusal(error)
                    return
                if error.message != told:
                    logger.error("http_refused reason=%s", error.message)
                told = error.message
            await asyncio.sleep(AGAIN_SECONDS)
