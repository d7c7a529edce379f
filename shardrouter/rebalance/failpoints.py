"""Named places in the mover at which tests make it die, freeze, fail or dawdle.

``SHARDROUTER_FAILPOINT=name:action[:n]`` arms one of them: the n-th time it is reached (the first
unless said) the process exits, stops itself, raises, or sleeps. Without it nothing happens.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from shardrouter.errors import SettingsError

VARIABLE: Final = "SHARDROUTER_FAILPOINT"
EXIT_CODE: Final = 86  # tells a test that the process died here and of nothing else

FAILPOINTS: Final = (
    "planned.examined",
    "preparing.announced",
    "preparing.locked",
    "preparing.published",
    "preparing.slot_recorded",
    "preparing.slot_made",
    "copying.subscribed",
    "copying.chunk",
    "copying.copied",
    "catching_up.marked",
    "catching_up.caught_up",
    "verifying.chunk",
    "verifying.verified",
    "ready.reverse_made",
    "ready.gate",
    "pausing.published",
    "pausing.drained",
    "fencing.locked",
    "fencing.fenced",
    "fencing.flushed",
    "draining.arrived",
    "draining.compared",
    "draining.before_commit",
    "committed.published",
    "committed.admitted",
    "committed.flowing",
    "committed.reversed",
    "soaking.over",
    "cleaning.drained",
    "cleaning.streams_dropped",
    "cleaning.chunk",
    "cleaning.unlocked",
    "retreating.lifted",
    "retreating.published",
    "restarting.streams_dropped",
    "restarting.chunk",
    "restarting.deleted",
    "aborting.streams_dropped",
    "aborting.chunk",
    "aborting.deleted",
    "aborting.unlocked",
)
"""Every place, as ``<state>.<what was done just before>``."""

ACTIONS: Final = ("exit", "freeze", "raise", "sleep")


class FailpointReached(Exception):
    """What an armed failpoint of the action ``raise`` raises. Nothing handles it."""


@dataclass(slots=True)
class Failpoint:
    """An armed failpoint."""

    name: str
    action: str
    seconds: float = 0.0
    at: int = 1
    """The how many-th time it acts."""

    seen: int = field(default=0)

    def is_due(self, name: str) -> bool:
        """Count a pass; True when it is the one."""
        if name != self.name:
            return False
        self.seen += 1
        return self.seen == self.at


class Failpoints:
    """The armed failpoint, if any; called at every named place."""

    def __init__(self, armed: Failpoint | None = None) -> None:
        self._armed = armed

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Failpoints":
        """Read the variable. Raises SettingsError for a name or an action that does not exist."""
        text = environment.get(VARIABLE, "")
        return cls(parse_failpoint(text) if text else None)

    def __call__(self, name: str) -> None:
        """Say that the place was reached."""
        if name not in FAILPOINTS:
            raise ValueError(f"no failpoint {name!r}")
        armed = self._armed
        if armed is not None and armed.is_due(name):
            _ACT[armed.action](armed)


def parse_failpoint(text: str) -> Failpoint:
    """Read ``name:action[:n]``; the action sleep is ``sleep=SECONDS``. Raises SettingsError."""
    name, _, rest = text.partition(":")
    action, _, at = rest.partition(":")
    action, _, seconds = action.partition("=")
    if name not in FAILPOINTS or action not in ACTIONS:
        raise SettingsError(
            f"{VARIABLE}={text!r} names no failpoint and action",
            hint=f"write name:action[:n] with an action of {', '.join(ACTIONS)}, sleep=SECONDS",
        )
    return Failpoint(name, action, float(seconds or 0.0), int(at or 1))


def _exit(armed: Failpoint) -> None:
    os._exit(EXIT_CODE)  # like kill -9: no handler runs, no connection is closed in order


def _freeze(armed: Failpoint) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _raise(armed: Failpoint) -> None:
    raise FailpointReached(armed.name)


def _sleep(armed: Failpoint) -> None:
    time.sleep(armed.seconds)


_ACT: Final[Mapping[str, Callable[[Failpoint], None]]] = {
    "exit": _exit,
    "freeze": _freeze,
    "raise": _raise,
    "sleep": _sleep,
}
