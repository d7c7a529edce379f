"""Lists of slots as people write them: ``10-20,99``. Pure."""

from collections.abc import Collection
from typing import Final

from shardrouter.topology import Slot

MOST_SLOTS: Final = 16384  # that a fleet can have


def parse_slots(text: str) -> tuple[Slot, ...]:
    """Read ``10-20,99``. Raises ValueError naming the part that is no slot or range."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{part.strip()!r} is neither a slot nor a range of slots")
        start, end = int(first), int(last if dash else first)
        if start > end:
            raise ValueError(f"{part.strip()!r} ends before it begins")
        if end >= MOST_SLOTS:
            raise ValueError(f"{end} is no slot: no fleet has more than {MOST_SLOTS}")
        found.update(range(start, end + 1))
    return tuple(Slot(slot) for slot in sorted(found))


def describe_slots(slots: Collection[Slot], most: int | None = None) -> str:
    """Return ``10-20,99``; of more than ``most`` ranges the first, and how many slots follow."""
    ranges: list[list[int]] = []
    for slot in sorted(slots):
        if ranges and slot == ranges[-1][1] + 1:
            ranges[-1][1] = slot
        else:
            ranges.append([slot, slot])
    shown = ranges if most is None else ranges[:most]
    text = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in shown)
    left = len(slots) - sum(b - a + 1 for a, b in shown)
    return f"{text},... {left} more" if left else text
