"""How a 64-bit id is laid out: tick | worker | slot, from the high bits to the low ones.

Pure. Ids sort by time because the tick stands on top; they route without a look-up because the
slot stands at the bottom. The tick is as fine as the bits that are left allow, so that every
fleet's ids last the same 34.8 years whatever its slot count.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from shardrouter.errors import SettingsError, ShardKeyInvalid
from shardrouter.topology.ids import Slot, is_valid_slot_count

EPOCH: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""Where ids begin to count."""

RANGE_BITS: Final = 40  # of milliseconds since EPOCH: until November 2059
WORKER_BITS: Final = 9
WORKERS: Final = 1 << WORKER_BITS
"""How many processes can make ids at the same time."""

_POSITIVE_BITS: Final = 63  # an id is a positive bigint


@dataclass(frozen=True, slots=True)
class IdLayout:
    """The bits of an id in a fleet of so many slots. Make it with ``for_slots``."""

    slot_bits: int
    tick_shift: int
    """Bits below the tick."""

    ticks_per_ms_bits: int
    """log2 of the ticks in a millisecond: 2 with 4,096 slots, a tick of 0.25 ms."""

    @classmethod
    def for_slots(cls, slots: int) -> Self:
        """Return the layout of a fleet. Raises SettingsError for an impossible slot count."""
        if not is_valid_slot_count(slots):
            raise SettingsError(
                f"{slots} slots is not a power of two from 16 to 16384",
                hint="pass the slot count of the fleet: `shardrouter topology show`",
            )
        slot_bits = slots.bit_length() - 1
        shift = slot_bits + WORKER_BITS
        return cls(slot_bits, shift, _POSITIVE_BITS - shift - RANGE_BITS)

    @property
    def max_tick(self) -> int:
        """The last tick an id can hold."""
        return (1 << (_POSITIVE_BITS - self.tick_shift)) - 1

    def compose(self, tick: int, worker: int, slot: int) -> int:
        """Return the id. The parts must be in range: nothing is checked here."""
        return tick << self.tick_shift | worker << self.slot_bits | slot

    def tick_of(self, value: int) -> int:
        return value >> self.tick_shift

    def worker_of(self, value: int) -> int:
        return value >> self.slot_bits & (WORKERS - 1)

    def slot_of(self, value: int) -> Slot:
        return Slot(value & ((1 << self.slot_bits) - 1))

    def first_tick_of_ms(self, milliseconds: int) -> int:
        """Return the first tick of that millisecond since EPOCH."""
        return milliseconds << self.ticks_per_ms_bits

    def ms_of_tick(self, tick: int) -> int:
        """Return the millisecond since EPOCH that holds the tick."""
        return tick >> self.ticks_per_ms_bits

    def time_of(self, value: int) -> datetime:
        """Return when the id's tick began (UTC), to the microsecond."""
        microseconds = self.tick_of(value) * 1000 >> self.ticks_per_ms_bits
        return EPOCH + timedelta(microseconds=microseconds)


def slot_of_id(value: int, slots: int) -> Slot:
    """Return the slot that an id of ``router.new_id`` carries. Raises ShardKeyInvalid."""
    return IdLayout.for_slots(slots).slot_of(_checked(value))


def time_of_id(value: int, slots: int) -> datetime:
    """Return when an id of ``router.new_id`` was made, by the catalog's clock (UTC).

    A burst runs ahead of the clock, so the time can lie up to ``ids.horizon_seconds`` in the
    future. Raises ShardKeyInvalid.
    """
    return IdLayout.for_slots(slots).time_of(_checked(value))


def _checked(value: int) -> int:
    if type(value) is not int or not 0 <= value < 1 << _POSITIVE_BITS:
        raise ShardKeyInvalid(
            f"{value!r} is not an id that new_id made",
            hint="pass the positive 64-bit int that router.new_id returned",
        )
    return value
