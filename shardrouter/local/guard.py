"""A small process that outlives ours, and then ends the servers of an attached fleet.

It waits on a pipe whose other end we hold: the kernel closes that end whatever way we die, by
``kill -9`` too. (A process forked from ours holds it as well, for as long as it lives.) Linux can
signal a child at its parent's death, but that is bound to the thread that made the child, and
postmasters are nobody's children.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

_CODE: Final = """
import sys
if not sys.stdin.buffer.read(1):
    from shardrouter.local.guard import end_fleet
    end_fleet(sys.argv[1], sys.argv[2] == "destroy")
"""
_RELEASE: Final = b"."
_RELEASE_TIMEOUT_SECONDS: Final = 10.0


class Guard:
    """The guarding process of one fleet's directory."""

    def __init__(self, data: Path, *, destroys: bool) -> None:
        root = Path(__file__).parents[2]  # it must run this very code
        path = os.pathsep.join(p for p in (str(root), os.environ.get("PYTHONPATH")) if p)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE, str(data), "destroy" if destroys else "stop"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for us, not for it
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def release(self) -> None:
        """End the guard; the servers are no longer its business."""
        self._process.communicate(_RELEASE, timeout=_RELEASE_TIMEOUT_SECONDS)


def end_fleet(data: str, destroys: bool) -> None:
    """Do what is left to do when the process that owned the fleet is gone."""
    from shardrouter.local.fleet import LocalFleet
    from shardrouter.local.server import StopMode

    was_half_made = LocalFleet.discard(Path(data), finished=destroys)
    if not destroys and not was_half_made:
        LocalFleet.open(Path(data)).stop(StopMode.IMMEDIATE)
