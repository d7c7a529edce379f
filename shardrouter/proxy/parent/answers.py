"""What the parent answers to its workers."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Final

from shardrouter.proxy.control_link import error_from_data
from shardrouter.proxy.parent.crew import Crew
from shardrouter.proxy.parent.quota_broker import QuotaBroker
from shardrouter.proxy.parent.reload import Reloader
from shardrouter.proxy.parent.worker_process import WorkerLife

MOCK_SECRET_BYTES: Final = 32


class ParentAnswers:
    """Connects the link of each worker to those who know the answers."""

    def __init__(
        self,
        crew: Crew,
        reloader: Reloader,
        broker: QuotaBroker,
        end: Callable[[str], None],
        serves: Callable[[], None],
    ) -> None:
        self._crew = crew
        self._reloader = reloader
        self._broker = broker
        self._end = end
        self._serves = serves
        self._mock_secret = secrets.token_bytes(MOCK_SECRET_BYTES)

    def connect(self, life: WorkerLife) -> None:
        """Answer that worker from now on."""
        link = life.link

        async def start() -> dict[str, Any]:
            life.settings_version = self._reloader.version
            return {
                "index": life.index,
                "workers": self._crew.size,
                "mock_secret": self._mock_secret.hex(),
                "settings_path": str(self._reloader.settings_path),
                **self._reloader.in_force(),
            }

        async def ready() -> None:
            life.is_ready = True
            await self._reloader.bring_up_to_date(life)
            self._serves()

        async def failed(error: dict[str, Any]) -> None:
            life.error = error_from_data(error)

        link.answer("start", start)
        link.answer("ready", ready)
        link.answer("failed", failed)
        link.answer("broadcast", self._broadcast)
        link.answer("reload", self._reloader.reload)
        link.answer("drain", self._drain)
        link.answer("workers", self._workers)
        self._broker.connect(life.number, link)

    async def _broadcast(self, verb: str, arguments: dict[str, Any]) -> list[Any]:
        return await self._crew.ask_all(verb, **arguments)

    async def _drain(self) -> None:
        self._end("asked")

    async def _workers(self) -> list[dict[str, Any]]:
        return self._crew.rows(asyncio.get_running_loop().time())
