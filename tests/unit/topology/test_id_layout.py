"""The bits of an id."""

from datetime import UTC, datetime, timedelta

import pytest

from shardrouter.errors import SettingsError, ShardKeyInvalid
from shardrouter.topology.id_layout import EPOCH, WORKERS, IdLayout, slot_of_id, time_of_id

SLOT_COUNTS = [16, 64, 1024, 4096, 16384]


@pytest.mark.parametrize("slots", SLOT_COUNTS)
def test_every_layout_spans_the_same_years(slots: int) -> None:
    layout = IdLayout.for_slots(slots)
    assert layout.ms_of_tick(layout.max_tick) == (1 << 40) - 1
    largest = layout.compose(layout.max_tick, WORKERS - 1, slots - 1)
    assert largest == (1 << 63) - 1
    assert layout.time_of(largest).year == 2059


def test_a_tick_is_a_quarter_millisecond_with_4096_slots() -> None:
    layout = IdLayout.for_slots(4096)
    assert layout.first_tick_of_ms(1) == 4
    assert layout.time_of(layout.compose(5, 0, 0)) == EPOCH + timedelta(microseconds=1250)


@pytest.mark.parametrize("slots", SLOT_COUNTS)
def test_parts_come_back(slots: int) -> None:
    layout = IdLayout.for_slots(slots)
    value = layout.compose(123_456_789, 511, slots - 2)
    assert layout.tick_of(value) == 123_456_789
    assert layout.worker_of(value) == 511
    assert layout.slot_of(value) == slot_of_id(value, slots) == slots - 2
    assert time_of_id(value, slots) == layout.time_of(value)


def test_time_of_a_known_id() -> None:
    layout = IdLayout.for_slots(4096)
    moment = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    milliseconds = int((moment - EPOCH).total_seconds() * 1000)
    assert time_of_id(layout.compose(layout.first_tick_of_ms(milliseconds), 7, 9), 4096) == moment


@pytest.mark.parametrize("value", [-1, 1 << 63, "5", 5.0, True, None])
def test_what_is_no_id_is_refused(value: object) -> None:
    with pytest.raises(ShardKeyInvalid, match="not an id"):
        slot_of_id(value, 4096)  # type: ignore[arg-type]


@pytest.mark.parametrize("slots", [0, 8, 1000, 32768])
def test_impossible_slot_counts_are_refused(slots: int) -> None:
    with pytest.raises(SettingsError, match="power of two"):
        IdLayout.for_slots(slots)
