"""Make 64-bit ids that sort by time and carry their slot.

No clock can cause a duplicate. The catalog leases a worker number together with a window of time
by its own clock, and the next owner's window starts after this one ends. Our clock only chooses a
tick inside the window; it may stand still, jump or lie.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol
from uuid import UUID, uuid4

from shardrouter.catalog import WorkerLease
from shardrouter.config import IdSettings
from shardrouter.errors import IdError, RouterClosed
from shardrouter.topology.id_layout import IdLayout

REFILL_POLL_SECONDS: Final = 0.002  # how often a caller looks whether another has the window
REFILL_WAIT_SECONDS: Final = 15.0  # the catalog's own timeouts are shorter

_NS_PER_MS: Final = 1_000_000


class WindowSource(Protocol):
    """Where windows come from: catalog.IdWorkers."""

    def acquire(self, owner: UUID, origin: str, past_ms: int) -> WorkerLease:
        """Lease a free worker number."""

    def extend(self, lease: WorkerLease, past_ms: int) -> WorkerLease | None:
        """Move the window's end; None when the number went to somebody else."""

    def release(self, lease: WorkerLease, used_end_ms: int) -> None:
        """Give the number back, free from ``used_end_ms`` on."""


class IdSource:
    """Makes the ids of one process. Thread-safe; safe in the greenlet bridge.

    Invariant: ids only grow, over all slots, for the life of this object.
    """

    def __init__(
        self,
        windows: WindowSource,
        slots: int,
        settings: IdSettings,
        origin: str,
        sleep: Callable[[float], None],
        clock_ns: Callable[[], int] = time.monotonic_ns,
        new_owner: Callable[[], UUID] = uuid4,
    ) -> None:
        self._windows = windows
        self._layout = IdLayout.for_slots(slots)
        self._settings = settings
        self._origin = origin
        self._sleep = sleep
        self._clock_ns = clock_ns
        self._new_owner = new_owner
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._is_refilling = False
        self._lease: WorkerLease | None = None
        self._last = -1  # the tick of the latest id
        self._end = 0  # the first tick beyond the window
        self._anchor_ns = 0  # our clock ...
        self._anchor_ms = 0  # ... when the catalog's showed this
        self._was_used = False  # since the last refill

    def new_id(self, slot: int) -> int:
        """Return a new id that carries the slot.

        Raises IdError (no worker number free, too far ahead of the clock, out of range),
        CatalogUnavailable when a new window is needed, RouterClosed in a fork.
        """
        if os.getpid() != self._process:
            raise RouterClosed(
                f"this id source belongs to process {self._process}, not to its fork",
                hint="make the router after the fork",
            )
        value = self.try_new_id(slot)
        return self._wait_for_id(slot) if value is None else value

    def renew_if_needed(self) -> None:
        """Extend a window that is in use and half gone. The control loop calls this every second.

        Raises IdError, CatalogUnavailable; the ids left in the window stay usable.
        """
        with self._lock:
            lease = self._lease
            if lease is None or not self._was_used or not self._is_half_gone():
                return
        if not self._claim_refill():
            return
        try:
            self._refill()
        finally:
            self._is_refilling = False

    def close(self) -> None:
        """Give the worker number back. Safe to call twice; ids can be made again afterwards."""
        with self._lock:
            lease, self._lease, self._end = self._lease, None, 0
        if lease is not None and os.getpid() == self._process:
            self._windows.release(lease, self._layout.ms_of_tick(self._last) + 1)

    def try_new_id(self, slot: int) -> int | None:
        """Return an id when the window at hand allows, else None. Never waits."""
        with self._lock:
            tick = max(self._last + 1, self._now_tick())
            return self._take(tick, slot) if tick < self._end else None

    def _new_id_of_fresh_window(self, slot: int) -> int | None:
        """Return an id right after a refill, whatever our clock says.

        A clock that is already past the window has jumped, or we were frozen: then the next tick
        in the row is used. None when other callers took all ticks.
        """
        with self._lock:
            tick, now = self._last + 1, self._now_tick()
            if tick >= self._end:
                return None
            return self._take(now if tick < now < self._end else tick, slot)

    def _take(self, tick: int, slot: int) -> int:
        assert self._lease is not None  # a window has an owner
        self._last = tick
        self._was_used = True
        return self._layout.compose(tick, self._lease.number, slot)

    def _wait_for_id(self, slot: int) -> int:
        """Return an id from a new window: one caller asks for it, the others wait."""
        deadline = time.monotonic() + REFILL_WAIT_SECONDS
        while time.monotonic() < deadline:
            if self._claim_refill():
                try:
                    self._refill()
                    value = self._new_id_of_fresh_window(slot)
                finally:
                    self._is_refilling = False
            else:
                self._sleep(REFILL_POLL_SECONDS)
                value = self.try_new_id(slot)
            if value is not None:
                return value
        raise IdError(
            f"no id window within {REFILL_WAIT_SECONDS:g} s",
            hint="check that the catalog answers: `shardrouter topology show`",
        )

    def _claim_refill(self) -> bool:
        with self._lock:
            if self._is_refilling:
                return False
            self._is_refilling = True
            return True

    def _refill(self) -> None:
        """Get a window that holds the next tick. No lock is held while the catalog is asked."""
        past_ms = self._layout.ms_of_tick(self._last + 1)
        lease = self._lease
        granted = None if lease is None else self._windows.extend(lease, past_ms)
        if granted is None:
            granted = self._windows.acquire(self._new_owner(), self._origin, past_ms)
        self._install(granted)
        if granted.end_ms <= past_ms:
            raise IdError(
                "ids run ahead of the clock by more than ids.horizon_seconds "
                f"({self._settings.horizon_seconds:g} s)",
                hint="make fewer ids at once from one process, use more processes, or raise "
                "ids.horizon_seconds",
            )
        if self._layout.first_tick_of_ms(granted.end_ms) > self._layout.max_tick:
            raise IdError("the 34 years of ids since 2025 are used up", hint="check the clock")

    def _install(self, granted: WorkerLease) -> None:
        with self._lock:
            self._lease = granted
            self._anchor_ns = self._clock_ns()
            self._anchor_ms = granted.catalog_ms
            first = self._layout.first_tick_of_ms(granted.start_ms)
            self._last = max(self._last, first - 1)
            self._end = self._layout.first_tick_of_ms(granted.end_ms)
            self._was_used = False

    def _now_tick(self) -> int:
        """Return the tick of the catalog's clock as we guess it."""
        elapsed = self._clock_ns() - self._anchor_ns
        bits = self._layout.ticks_per_ms_bits
        return (self._anchor_ms << bits) + (elapsed << bits) // _NS_PER_MS

    def _is_half_gone(self) -> bool:
        half = self._layout.first_tick_of_ms(int(self._settings.lease_seconds * 500))
        return self._end - max(self._last, self._now_tick()) < half
