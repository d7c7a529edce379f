"""Counters of a router that threads raise without a lock."""

from shardrouter.client.slot_counts import SlotCounts


def test_each_query_is_taken_once() -> None:
    counts = SlotCounts(16)
    assert counts.take() == {}
    counts.of[3] += 1
    counts.of[15] += 2
    assert counts.take() == {3: 1, 15: 2}
    counts.of[3] += 1
    assert counts.take() == {3: 1}
    assert counts.take() == {}


def test_a_thread_that_sets_a_counter_back_does_no_harm() -> None:
    counts = SlotCounts(16)
    counts.of[3] = 100
    counts.take()
    counts.of[3] = 6  # it had read 5, and was stopped before it could write
    assert counts.take() == {}
    counts.of[3] += 1
    assert counts.take() == {3: 1}
