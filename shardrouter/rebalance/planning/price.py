"""Say what each move of a plan will cost: rows, bytes, seconds, WAL, disk. Pure.

Every expectation carries its basis: ``measured`` on this fleet, or ``assumed`` when nothing was
measured yet. Nothing here decides; people and the settings' limits do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Final

from shardrouter.rebalance.planning.plan import Batch
from shardrouter.topology import ShardId

ASSUMED_COPY_BYTES_PER_SECOND: Final = 20_000_000.0
"""What two busy servers on ordinary disks reach with one logical copy; a guess on the low side."""

ASSUMED_PAUSE_SECONDS: Final = 0.1
"""The target for the write pause of a move under load."""


class Basis(StrEnum):
    """Where an expectation comes from."""

    MEASURED = "measured"
    ASSUMED = "assumed"


@dataclass(frozen=True, slots=True)
class Expected:
    """A number to expect, and where it comes from."""

    value: float
    basis: Basis


@dataclass(frozen=True, slots=True)
class SlotLoads:
    """What each slot holds, by slot number, as its owner has it."""

    rows: tuple[int, ...]
    bytes: tuple[int, ...]
    """With indexes and dead rows: what the slot takes of a disk."""


@dataclass(frozen=True, slots=True)
class Room:
    """How full a shard is."""

    database_bytes: int
    disk_bytes: int | None = None
    """The size of its disk, where the settings tell it."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast this fleet copies, writes and pauses."""

    copy_bytes_per_second: Expected
    pause_seconds: Expected
    wal_bytes_per_second: Mapping[ShardId, float]
    """What each shard writes now."""


@dataclass(frozen=True, slots=True)
class Price:
    """What to expect of one move."""

    rows: int
    bytes: int
    copy_seconds: float
    retained_wal_bytes: int
    """What the source keeps for the target until the copy is done."""

    pause_seconds: float
    """How long writers of these slots wait at the cutover."""

    target_bytes_after: int
    """The target's database after this move and those before it."""

    target_free_bytes_after: int | None
    """The low-water mark of its disk; None when the settings do not tell its size."""


def price_batches(
    batches: Sequence[Batch], loads: SlotLoads, rates: Rates, rooms: Mapping[ShardId, Room]
) -> tuple[Price, ...]:
    """Return the price of each batch, in order: what came before fills the targets' disks.

    A source gives its space back only by vacuum, some time later: it is not counted on.
    """
    filled = {shard: room.database_bytes for shard, room in rooms.items()}
    prices: list[Price] = []
    for batch in batches:
        size = sum(loads.bytes[slot] for slot in batch.slots)
        filled[batch.target] += size
        seconds = size / rates.copy_bytes_per_second.value
        disk = rooms[batch.target].disk_bytes
        prices.append(
            Price(
                rows=sum(loads.rows[slot] for slot in batch.slots),
                bytes=size,
                copy_seconds=seconds,
                retained_wal_bytes=round(seconds * rates.wal_bytes_per_second[batch.source]),
                pause_seconds=rates.pause_seconds.value,
                target_bytes_after=filled[batch.target],
                target_free_bytes_after=None if disk is None else disk - filled[batch.target],
            )
        )
    return tuple(prices)


def expect(measured: Sequence[float], assumed: float) -> Expected:
    """Return the median of what was measured, else the assumption, marked as such."""
    if measured:
        return Expected(median(measured), Basis.MEASURED)
    return Expected(assumed, Basis.ASSUMED)
