"""What a topology says of slots that are on their way from one shard to another. Values only.

Routers need no more than this: whether writes are held, and which shards hold rows that are not
theirs. How far a move is, and who carries it out, is in ``move`` and in the catalog.
"""

from dataclasses import dataclass
from enum import StrEnum

from shardrouter.topology.ids import ShardId, Slot


class Motion(StrEnum):
    """How slots in motion are to be treated."""

    COPYING = "copying"
    """The source owns them as before; the target holds rows that are not its own."""

    PAUSED = "paused"
    """No shard takes writes to them, and routers hold them back. The owner is who owns them by the
    topology: the source before the commit, the target after it."""

    MOVED = "moved"
    """The target owns them; the source still holds rows that are not its own."""


@dataclass(frozen=True, slots=True)
class SlotsInMotion:
    """Slots that one move carries from ``source`` to ``target``."""

    move: int
    """The number of the move in the catalog."""

    slots: tuple[Slot, ...]
    """Ascending."""

    source: ShardId
    target: ShardId
    motion: Motion
