"""Carry the quota's decisions to the workers: who may open a backend, who shall give some back."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final, Protocol

from shardrouter.config import Settings
from shardrouter.proxy.control_link import ControlLink
from shardrouter.proxy.quota import Bounds, Claim, Granted, Notice, Pool, Quota, Shed, Spare

logger = logging.getLogger(__name__)

ROTATE_SECONDS: Final = 0.1  # how long a place is kept where there are more workers than places


class SettingsInForce(Protocol):
    """Where the bounds are read, and are other ones after a reload."""

    settings: Settings


class QuotaBroker:
    """Holds the quota. Belongs to the parent's event loop."""

    def __init__(self, source: SettingsInForce) -> None:
        self._source = source
        self._bounds = Bounds.of_settings(source.settings.proxy_pool)
        self._quota = Quota(self._bounds)
        self._links: dict[int, ControlLink] = {}

    def connect(self, worker: int, link: ControlLink) -> None:
        """Answer the worker of that life."""
        self._links[worker] = link

        async def want(pool: str, node: str, user: str, count: int = 1) -> bool:
            self._rebound()
            is_granted, notices = self._quota.want(Claim(worker, Pool(node, user)), int(count))
            self._carry_out(notices)
            return is_granted

        async def freed(pool: str, node: str, user: str, count: int = 1) -> None:
            self._carry_out(self._quota.freed(Claim(worker, Pool(node, user)), int(count)))

        link.answer("want", want)
        link.answer("freed", freed)

    def forget(self, worker: int) -> None:
        """Give what an ended worker held to those who wait."""
        self._links.pop(worker, None)
        self._carry_out(self._quota.forget(worker))

    async def run(self) -> None:
        """Let places go round while somebody waits, until cancelled."""
        while True:
            await asyncio.sleep(ROTATE_SECONDS)
            self._rebound()
            if self._quota.has_waiting:
                self._carry_out(self._quota.rotate())

    def _rebound(self) -> None:
        bounds = Bounds.of_settings(self._source.settings.proxy_pool)
        if bounds != self._bounds:
            self._bounds = bounds
            self._carry_out(self._quota.rebound(bounds))

    def _carry_out(self, notices: Iterable[Notice]) -> None:
        for notice in notices:
            link = self._links.get(notice.claim.worker)
            if link is None:
                continue
            match notice:
                case Granted(claim):
                    link.tell("granted", **_pool(claim))
                case Shed(claim, count):
                    link.tell("shed", **_pool(claim), count=count)
                case Spare(claim, count):
                    link.tell("spare", **_pool(claim), count=count)


def _pool(claim: Claim) -> dict[str, Any]:
    return {"pool": f"{claim.pool.node}/{claim.pool.user}"}
