"""Slots as text: ``0-3,7,9-10``. Pure."""

from collections.abc import Iterable
from typing import cast

from shardrouter.topology.ids import Slot


def slot_ranges(slots: Iterable[int]) -> str:
    """Return ascending slots as text."""
    runs: list[tuple[int, int]] = []
    for slot in slots:
        if runs and runs[-1][1] == slot - 1:
            runs[-1] = (runs[-1][0], slot)
        else:
            runs.append((slot, slot))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def slots_of_ranges(text: str) -> tuple[Slot, ...]:
    """Return the slots of such a text, in its order. Raises ValueError."""
    slots: list[int] = []
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        slots.extend(range(int(first), int(last if dash else first) + 1))
    return cast("tuple[Slot, ...]", tuple(slots))
