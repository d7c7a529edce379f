"""What the HTTP endpoints tell: the workers' answers put together."""

import asyncio
import logging
from collections.abc import Callable

from shardrouter.proxy.crew import Crew
from shardrouter.proxy.reload import Reloader
from shardrouter.proxy.retired import Retired

logger = logging.getLogger(__name__)


class ParentHttp:
    """The source of /metrics, /health and /ready, and the server of them."""

    def __init__(self, crew: Crew, reloader: Reloader, is_ending: Callable[[], bool]) -> None:
        self.retired = Retired()
        self._crew = crew
        self._reloader = reloader
        self._is_ending = is_ending
        self._server: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Serve where the settings say."""

    async def stop(self) -> None:
        """Let go of the port."""
