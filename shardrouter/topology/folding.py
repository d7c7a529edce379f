"""Tell when int8 keys are of a kind that Postgres' hash folds together.

``hashint8`` folds 64 bits to 32 by XOR of the halves. Ids that were packed of two numbers lose
keys by that: all of ``n << 32 | n`` land in one slot.
"""

from collections.abc import Iterable
from typing import Final

WARN_ABOVE: Final = 0.01  # of a sample; a million random keys lose 0.0001 by chance


def folding_loss(keys: Iterable[int]) -> float:
    """Return the part of the distinct keys that share their folded value with another, 0 to 1."""
    distinct = set(keys)
    if not distinct:
        return 0.0
    return 1 - len({_folded(key) for key in distinct}) / len(distinct)


def folding_warning(keys: Iterable[int]) -> str | None:
    """Return a warning when a sample of int8 keys loses keys by folding, else None."""
    loss = folding_loss(keys)
    if loss <= WARN_ABOVE:
        return None
    return (
        f"{loss:.0%} of these int8 keys fall on the hash of another: they look packed of two"
        " numbers, which crowds few slots; shard by the two numbers as a key of two columns"
    )


def _folded(key: int) -> int:
    return (key ^ (key >> 32 if key >= 0 else ~(key >> 32))) & 0xFFFFFFFF
