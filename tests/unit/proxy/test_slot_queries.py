"""Answers of sessions, put down to the slots of the keys they named."""

from types import SimpleNamespace
from typing import Any

from shardrouter.proxy.relay.slot_queries import SlotQueries


def session(slot: int | None = None, queries: int = 0) -> Any:
    return SimpleNamespace(
        choice=SimpleNamespace(slot=slot, queries=0), relay=SimpleNamespace(queries=queries)
    )


def test_answers_count_for_the_slot_that_was_named() -> None:
    one, other = session(3, queries=5), session(7, queries=2)
    counted = SlotQueries({1: one, 2: other})
    assert counted.take() == {3: 5, 7: 2}
    assert counted.take() == {}
    one.relay.queries += 1
    assert counted.take() == {3: 1}


def test_another_key_counts_from_then_on() -> None:
    one = session(3, queries=5)
    counted = SlotQueries({1: one})
    counted.settle(one)
    one.choice.slot = 7
    one.relay.queries = 9
    assert counted.take() == {3: 5, 7: 4}


def test_queries_of_no_slot_are_not_counted_later_either() -> None:
    one = session(None, queries=5)
    counted = SlotQueries({1: one})
    counted.settle(one)
    one.choice.slot = 3
    assert counted.take() == {}


def test_a_session_that_has_left_is_remembered() -> None:
    one = session(3, queries=5)
    sessions = {1: one}
    counted = SlotQueries(sessions)
    counted.settle(sessions.pop(1))
    assert counted.take() == {3: 5}
