"""How many queries each slot had through this router."""

from collections.abc import Mapping

from shardrouter.topology import Slot


class SlotCounts:
    """Counters by slot that every thread raises without a lock.

    Race: two threads that count for one slot at once may count once. A lock would cost more than
    that is worth: the counts only tell busy slots from quiet ones.
    """

    __slots__ = ("_taken", "of")

    def __init__(self, slots: int) -> None:
        self.of = [0] * slots
        """Queries by slot; ``of[slot] += 1`` is all it takes."""

        self._taken = [0] * slots

    def take(self) -> Mapping[Slot, int]:
        """Return the queries since the last time. For one thread."""
        now = self.of.copy()
        before, self._taken = self._taken, now
        # A thread that was stopped in the middle of counting may have set a counter back.
        return {
            Slot(slot): count - then
            for slot, (count, then) in enumerate(zip(now, before, strict=True))
            if count > then
        }
