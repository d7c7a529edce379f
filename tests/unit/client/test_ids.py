"""Ids of one process: order, uniqueness, what happens at the edges of a window."""

import os
import threading
from collections.abc import Callable

import pytest

from shardrouter.client.ids import IdSource
from shardrouter.config.ids import IdSettings
from shardrouter.errors import CatalogUnavailable, IdError, RouterClosed
from shardrouter.topology.id_layout import IdLayout, slot_of_id
from tests.support.id_windows import MemoryWindows

SLOTS = 4096
LAYOUT = IdLayout.for_slots(SLOTS)
MS = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.ns = 5_000_000 * MS

    def __call__(self) -> int:
        return self.ns


def source(
    windows: MemoryWindows, clock: Callable[[], int], settings: IdSettings | None = None
) -> IdSource:
    return IdSource(windows, SLOTS, settings or IdSettings(), "test", lambda s: None, clock)


def test_ids_carry_their_slot_and_only_grow() -> None:
    ids = source(MemoryWindows(), Clock())
    made = [ids.new_id(slot) for slot in (5, 4095, 0, 5, 17)]
    assert [slot_of_id(value, SLOTS) for value in made] == [5, 4095, 0, 5, 17]
    assert made == sorted(set(made))


def test_the_time_of_an_id_is_the_catalogs() -> None:
    windows, clock = MemoryWindows(), Clock()
    ids = source(windows, clock)
    first = ids.new_id(1)
    clock.ns += 1500 * MS
    second = ids.new_id(1)
    assert LAYOUT.ms_of_tick(LAYOUT.tick_of(first)) == windows.now_ms
    assert LAYOUT.ms_of_tick(LAYOUT.tick_of(second)) == windows.now_ms + 1500


def test_a_clock_that_steps_back_changes_nothing() -> None:
    clock = Clock()
    ids = source(MemoryWindows(), clock)
    before = ids.new_id(3)
    clock.ns -= 3_600_000 * MS
    assert LAYOUT.tick_of(ids.new_id(3)) == LAYOUT.tick_of(before) + 1


def test_a_clock_that_steps_ahead_stays_in_the_window() -> None:
    windows, clock = MemoryWindows(), Clock()
    ids = source(windows, clock)
    before = ids.new_id(3)
    clock.ns += 3_600_000 * MS
    after = ids.new_id(3)
    assert before < after
    assert LAYOUT.ms_of_tick(LAYOUT.tick_of(after)) < windows.ends[0]
    assert LAYOUT.ms_of_tick(LAYOUT.tick_of(after)) <= windows.now_ms + 1


def test_a_clock_gone_mad_still_makes_ids() -> None:
    windows = MemoryWindows()
    readings = iter(range(0, 10**18, 10**14))
    ids = source(windows, lambda: next(readings))
    made = [ids.new_id(0) for _ in range(50)]
    assert made == sorted(set(made))


def test_a_burst_runs_ahead_up_to_the_horizon() -> None:
    settings = IdSettings(horizon_seconds=2, lease_seconds=1)
    windows, clock = MemoryWindows(lease_ms=1000, horizon_ms=2000), Clock()
    ids = source(windows, clock, settings)
    made = [ids.new_id(0) for _ in range(8000)]  # two seconds of ticks
    assert made == sorted(set(made))
    with pytest.raises(IdError, match="ahead of the clock"):
        ids.new_id(0)
    windows.now_ms += 1000
    clock.ns += 1000 * MS
    assert ids.new_id(0) > made[-1]


def test_a_window_taken_over_is_never_used_again() -> None:
    windows, frozen_clock = MemoryWindows(numbers=1), Clock()
    frozen = source(windows, frozen_clock)
    old = frozen.new_id(0)
    windows.now_ms += windows.lease_ms  # the frozen process saw no time pass
    other = source(windows, Clock())
    new = other.new_id(0)
    assert LAYOUT.worker_of(new) == LAYOUT.worker_of(old) == 0
    last = frozen.new_id(0)  # still of its own window
    assert old < last < new
    frozen_clock.ns += windows.lease_ms * MS
    with pytest.raises(IdError, match="in use"):
        frozen.new_id(0)


def test_exhausted_numbers_are_an_error() -> None:
    windows = MemoryWindows(numbers=2)
    for _ in range(2):
        source(windows, Clock()).new_id(0)
    with pytest.raises(IdError, match="in use"):
        source(windows, Clock()).new_id(0)


def test_a_closed_source_gives_its_number_back() -> None:
    windows, clock = MemoryWindows(numbers=1), Clock()
    first = source(windows, clock)
    old = first.new_id(0)
    first.close()
    first.close()
    windows.now_ms += 1
    assert source(windows, clock).new_id(0) > old


def test_renewal_ahead_of_time_only_for_a_window_in_use() -> None:
    windows, clock = MemoryWindows(), Clock()
    ids = source(windows, clock)
    ids.renew_if_needed()
    assert windows.calls == 0
    ids.new_id(0)
    ids.renew_if_needed()
    assert windows.calls == 1
    windows.now_ms += 20_000
    clock.ns += 20_000 * MS
    ids.new_id(0)
    ids.renew_if_needed()
    assert windows.calls == 2
    assert windows.ends[0] == windows.now_ms + 30_000
    windows.now_ms += 20_000
    clock.ns += 20_000 * MS
    ids.renew_if_needed()
    assert windows.calls == 2, "nobody makes ids: the window may lapse"


def test_ids_go_on_while_the_catalog_is_away() -> None:
    windows, clock = MemoryWindows(), Clock()
    ids = source(windows, clock)
    ids.new_id(0)

    def away(*args: object) -> None:
        raise CatalogUnavailable

    windows.extend = away  # type: ignore[method-assign, assignment]
    clock.ns += 29_000 * MS
    ids.new_id(0)
    with pytest.raises(CatalogUnavailable):
        ids.renew_if_needed()
    ids.new_id(0)
    clock.ns += 2_000 * MS
    with pytest.raises(CatalogUnavailable):
        ids.new_id(0)


def test_threads_share_one_worker_number() -> None:
    windows = MemoryWindows()
    ids = IdSource(windows, SLOTS, IdSettings(), "test", threading.Event().wait)  # type: ignore[arg-type]
    made: list[list[int]] = [[] for _ in range(8)]
    barrier = threading.Barrier(8)

    def work(mine: list[int]) -> None:
        barrier.wait()
        mine.extend(ids.new_id(1) for _ in range(500))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [value for mine in made for value in mine]
    assert len(set(everything)) == 4000
    assert all(mine == sorted(mine) for mine in made)
    assert len(windows.owners) == 1


def test_a_fork_must_not_use_its_parents_window(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = source(MemoryWindows(), Clock())
    ids.new_id(0)
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    with pytest.raises(RouterClosed, match="fork"):
        ids.new_id(0)
