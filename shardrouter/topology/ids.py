"""The small named types that must not be mixed up."""

import re
from typing import Final, NewType

ShardId = NewType("ShardId", str)
NodeId = NewType("NodeId", str)
Slot = NewType("Slot", int)
Epoch = NewType("Epoch", int)

DEFAULT_SLOTS: Final = 4096
"""Slots of a fleet, fixed for its life (reference: 64 shards at 1.6 % quantisation)."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
"""Names go into replication slot names, application names and transaction ids."""


def is_valid_name(name: str) -> bool:
    """True for a lower-case name of at most 40 letters, digits, ``_`` and ``-``."""
    return _NAME.fullmatch(name) is not None


def is_valid_slot_count(slots: int) -> bool:
    """True for a power of two from 16 to 16384."""
    return 16 <= slots <= 16384 and slots & (slots - 1) == 0
