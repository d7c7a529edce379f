"""Workers that answer live; one that is silent for too long is ended."""

import asyncio
from typing import Any, cast

from shardrouter.control.tasks import spawn
from shardrouter.errors import ControlLost, ShardRouterError
from shardrouter.proxy.parent.watchdog import Watchdog
from shardrouter.proxy.parent.worker_process import WorkerLife
from tests.support.eventually import eventually_async


class Link:
    """Answers, refuses, or stays silent until the time is over."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.asked = 0
        self.is_closed = how == "closed"

    async def ask(self, verb: str, *, timeout_seconds: float) -> dict[str, Any]:
        assert verb == "health"
        self.asked += 1
        match self.how:
            case "answers":
                return {}
            case "refuses":
                raise ShardRouterError("not now")
            case "closed":
                raise ControlLost
        await asyncio.sleep(timeout_seconds)
        raise ControlLost


class Process:
    def __init__(self) -> None:
        self.pid = 1
        self.returncode: int | None = None
        self.kills = 0

    def kill(self) -> None:
        self.kills += 1
        self.returncode = -9


def life(how: str) -> WorkerLife:
    return WorkerLife(0, cast("Any", Link(how)), cast("Any", Process()), started_at=0.0)


async def test_only_the_silent_one_is_ended() -> None:
    lives = {how: life(how) for how in ("answers", "refuses", "closed", "silent")}
    running = spawn(Watchdog(lambda: list(lives.values()), 0.01, 0.05).run(), name="watchdog")
    silent = cast("Any", lives["silent"].process)
    await eventually_async(lambda: silent.kills)
    await eventually_async(lambda: cast("Any", lives["answers"].link).asked > 5)
    running.cancel()
    assert {how: cast("Any", each.process).kills for how, each in lives.items()} == {
        "answers": 0,
        "refuses": 0,
        "closed": 0,
        "silent": 1,
    }
