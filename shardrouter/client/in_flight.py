"""What is under way in this router, and what has to wait because slots are paused for a move.

A move may go on only when routers have told that nothing which began under an earlier topology is
open any more. So whatever begins is noted here first and reads the topology then: there is no
moment in which it is at work unnoticed.
"""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any
from weakref import ref

from shardrouter.client.runtime import Runtime
from shardrouter.client.stay import Stay, held_by, keeps_readers, keeps_writers
from shardrouter.control import Drain, lease_clock
from shardrouter.errors import SlotsHeld
from shardrouter.topology import SlotsInMotion, Topology


class InFlight:
    """The open stays of one router. Safe to use from any thread, and in the greenlet bridge."""

    def __init__(
        self,
        current: Callable[[], Topology],
        runtime: Runtime,
        hold_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        lease_clock: Callable[[], float] = lease_clock,
    ) -> None:
        self._current = current
        self._runtime = runtime
        self._hold_seconds = hold_seconds
        self._clock = clock
        self._lease_clock = lease_clock
        self._lease_end = float("-inf")
        self._lapses = 0
        # Weak: a session that is dropped without being closed gives its connection back and must
        # not hold a move up. Adding to a set, and copying it, are single steps to other threads.
        self._open: set[ref[Stay]] = set()
        self._waiting: deque[Future[None]] = deque()

    def enter(self, stay: Stay) -> Topology:
        """Let a stay begin, perhaps after a wait; return the topology it is to route by.

        Every ``enter`` that returns is followed by a ``leave``. Raises SlotsHeld when slots stay
        paused for longer than rebalance.hold_seconds, LeaseExpired, RouterClosed.
        """
        self._note(stay)
        try:
            topology = self._current()
            if topology.paused_slots and held_by(topology, stay) is not None:
                self.leave(stay)
                topology = self._wait(stay)
        except BaseException:
            self.leave(stay)
            raise
        stay.topology = topology
        return topology

    def leave(self, stay: Stay) -> None:
        """Note that a stay is over. Safe to call twice."""
        self._open.discard(stay.entry)

    def drain(self, topology: Topology) -> Drain:
        """Tell whether what began before this topology is over, as far as moves care."""
        stays: list[Stay] = [stay for entry in self._open.copy() if (stay := entry()) is not None]
        return Drain(
            readers=not any(keeps_readers(topology, stay) for stay in stays),
            writers=not any(keeps_writers(topology, stay) for stay in stays),
        )

    def wake(self, _: Any = None) -> None:
        """Have everybody who waits look at the topology again."""
        for _ in range(len(self._waiting)):  # not those that come back to wait once more
            try:
                waiter = self._waiting.popleft()
            except IndexError:
                return
            if waiter.set_running_or_notify_cancel():
                waiter.set_result(None)

    def move_lease(self, deadline: float) -> None:
        """Hear from the keeper how long the lease lasts now."""
        if self._lease_clock() >= self._lease_end:
            self._lapses += 1  # Race: before the new end is told, see has_lease_since
        self._lease_end = deadline

    def lease_mark(self) -> int:
        """Return what ``has_lease_since`` takes."""
        return self._lapses

    def has_lease_since(self, mark: int) -> bool:
        """True when the lease holds and held all the time: moves have waited for open stays."""
        return self._lease_clock() < self._lease_end and self._lapses == mark

    def _note(self, stay: Stay) -> None:
        stay.entry = ref(stay, self._open.discard)
        self._open.add(stay.entry)

    def _wait(self, stay: Stay) -> Topology:
        """Wait until nothing holds the stay any more; meanwhile it is not open."""
        deadline = self._clock() + self._hold_seconds
        while True:
            waiter: Future[None] = Future()
            self._waiting.append(waiter)  # Race: before the topology is read, or a change is missed
            try:
                self._note(stay)
                topology = self._current()
                motion = held_by(topology, stay)
                if motion is None:
                    return topology
                self.leave(stay)
                left = deadline - self._clock()
                if left <= 0:
                    raise self._held(topology, stay, motion)
                self._runtime.wait_for(waiter, left)
            finally:
                self._forget(waiter)

    def _forget(self, waiter: Future[None]) -> None:
        try:
            self._waiting.remove(waiter)
        except ValueError:
            return  # it was woken

    def _held(self, topology: Topology, stay: Stay, motion: SlotsInMotion) -> SlotsHeld:
        owner = motion.owner(topology.owners)
        held = [slot for slot in stay.slots if topology.is_paused(slot)]
        what = f"slot {held[0]}" if held else f"shard {owner}"
        return SlotsHeld(
            f"writes to {what} were held back for {self._hold_seconds:g} s: move {motion.move}"
            f" hands slots over from {motion.source} to {motion.target}",
            shard=owner,
            epoch=topology.epoch,
            hint=f"run it again in a moment; `shardrouter move show {motion.move}` tells what the"
            " move waits for",
        )
