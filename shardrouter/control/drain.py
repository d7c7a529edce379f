"""What a router has drained: whether work that began under an earlier topology is still open.

A move waits for it twice: before it copies (routers must leave foreign rows out of what they
gather) and in the cutover (writers that began before must have ended). docs/flows/move.md.
"""

from collections.abc import Callable
from typing import NamedTuple

from shardrouter.control.tasks import ask_safely
from shardrouter.topology import Epoch, Topology


class Drain(NamedTuple):
    """What is not open any more of the work that began under an earlier epoch."""

    readers: bool
    """No gather is open, and no unit of work that named a slot in any motion."""

    writers: bool
    """No writable unit of work is open on a paused slot, nor one that named no slot (a whole
    shard) on the shard that owns paused slots."""


DrainCheck = Callable[[Topology], Drain]
"""Answers at once, on the keeper's loop. Race: it is asked after the topology was swapped; so work
must be counted before it reads the topology it goes by, else it is overlooked."""

_DRAINED = Drain(readers=True, writers=True)


class DrainWatch:
    """Which epochs are drained here. Belongs to the keeper's loop."""

    def __init__(self) -> None:
        self._check: DrainCheck | None = None
        self.readers = Epoch(0)
        """The newest epoch before which no reader began that is still open."""

        self.writers = Epoch(0)
        self.is_waiting = False
        """True while it is worth looking again soon."""

    def watch(self, check: DrainCheck) -> None:
        """Have ``check`` asked from now on."""
        self._check = check

    def look(self, topology: Topology) -> bool:
        """Ask what is open; True when an epoch was drained since the last look."""
        before, all_drained = (self.readers, self.writers), (topology.epoch, topology.epoch)
        if before == all_drained:
            return False
        found = self._ask(topology)
        if found is not None and found.readers:
            self.readers = topology.epoch
        if found is not None and found.writers:
            self.writers = topology.epoch
        now = (self.readers, self.writers)
        # A check that fails is not asked every few milliseconds: its traceback fills the log.
        self.is_waiting = found is not None and now != all_drained
        return now != before

    def _ask(self, topology: Topology) -> Drain | None:
        if self._check is None or not topology.motions:
            return _DRAINED
        return ask_safely(self._check, topology, name="drain check")
