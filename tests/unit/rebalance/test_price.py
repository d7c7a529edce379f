"""What moves are said to cost."""

import pytest

from shardrouter.rebalance.planning.plan import Batch
from shardrouter.rebalance.planning.price import (
    Basis,
    Expected,
    Rates,
    Room,
    SlotLoads,
    expect,
    price_batches,
)
from shardrouter.topology import ShardId, Slot

S0, S1, S2 = (ShardId(f"s{n}") for n in range(3))
LOADS = SlotLoads(rows=(10, 20, 30, 40), bytes=(1000, 2000, 3000, 4000))
RATES = Rates(
    copy_bytes_per_second=Expected(100.0, Basis.MEASURED),
    pause_seconds=Expected(0.05, Basis.ASSUMED),
    wal_bytes_per_second={S0: 7.0, S1: 0.0, S2: 0.0},
)


def test_each_move_fills_its_target_for_the_next() -> None:
    batches = [Batch(S0, S2, (Slot(0), Slot(2))), Batch(S1, S2, (Slot(1),))]
    rooms = {S0: Room(0), S1: Room(0), S2: Room(500, disk_bytes=10_000)}
    first, second = price_batches(batches, LOADS, RATES, rooms)
    assert (first.rows, first.bytes, first.copy_seconds) == (40, 4000, 40.0)
    assert first.retained_wal_bytes == 280
    assert (first.target_bytes_after, first.target_free_bytes_after) == (4500, 5500)
    assert (second.target_bytes_after, second.target_free_bytes_after) == (6500, 3500)
    assert second.pause_seconds == 0.05


def test_a_disk_of_unknown_size_has_no_low_water_mark() -> None:
    [price] = price_batches([Batch(S0, S1, (Slot(3),))], LOADS, RATES, {S0: Room(0), S1: Room(1)})
    assert (price.target_bytes_after, price.target_free_bytes_after) == (4001, None)


def test_expectations_tell_their_basis() -> None:
    assert expect([3.0, 1.0, 2.0], 9.0) == Expected(2.0, Basis.MEASURED)
    assert expect([], 9.0) == Expected(9.0, Basis.ASSUMED)
    assert expect([4.0], 9.0).value == pytest.approx(4.0)
