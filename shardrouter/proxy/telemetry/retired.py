"""Keep the counters of workers that died, so that no total ever goes backwards.

A worker's last words are its last answer: what it counted after that is lost with it. Belongs to
the parent's event loop.
"""

from collections.abc import Sequence

from shardrouter.proxy.telemetry.metrics_snapshot import Snapshot
from shardrouter.proxy.telemetry.metrics_sums import only_counters


class Retired:
    """The last answer of each live worker, and the sum of the dead ones.

    Invariant: a process is counted once, among the living or among the dead.
    """

    def __init__(self) -> None:
        self.restarts = 0
        """Workers that were started again after they ended."""

        self._living: dict[int, Snapshot | None] = {}
        self._dead: Snapshot | None = None

    def born(self, pid: int, *, is_restart: bool = False) -> None:
        """Note that a worker process started."""
        self._living[pid] = None
        self.restarts += is_restart

    def bury(self, pid: int) -> None:
        """Note that a worker process ended: what it last told counts for ever."""
        last = self._living.pop(pid, None)
        if last is not None:
            self._dead = only_counters([last] if self._dead is None else [self._dead, last])

    def living(self, fresh: Sequence[Snapshot]) -> list[Snapshot]:
        """Take the answers of now and return one a live worker: of a silent one the last.

        Race: an answer may arrive after its worker was buried. It is dropped then, because what
        was counted before is among the dead already.
        """
        for snapshot in fresh:
            if snapshot["pid"] in self._living:
                self._living[snapshot["pid"]] = snapshot
        return [snapshot for snapshot in self._living.values() if snapshot is not None]

    def dead(self) -> list[Snapshot]:
        """Return what the dead counted: nothing, or one sum."""
        return [] if self._dead is None else [self._dead]
