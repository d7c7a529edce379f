"""A report names every shard; a failed one is never left out."""

from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from shardrouter.client.outcomes import map_shards
from shardrouter.errors import BackendUnreachable, ScatterFailed
from shardrouter.topology import ShardId

SHARDS = [ShardId("s0"), ShardId("s1"), ShardId("s2")]


def fan_out(calls: list[Any]) -> list[Any]:
    answers: list[Any] = []
    for call in calls:
        try:
            answers.append(call())
        except Exception as error:  # as both runtimes do
            answers.append(error)
    return answers


def test_values_by_shard_in_order() -> None:
    report = map_shards(SHARDS, str.upper, fan_out)
    assert report.values == {"s0": "S0", "s1": "S1", "s2": "S2"}
    assert [outcome.shard for outcome in report] == SHARDS
    assert len(report) == 3
    assert not report.failed
    report.raise_if_failed()


def test_a_value_of_none_is_a_value() -> None:
    report = map_shards(SHARDS, lambda shard: None, fan_out)
    assert report.values == dict.fromkeys(SHARDS)
    report.raise_if_failed()


def test_failures_are_told_by_shard_and_kind() -> None:
    def call(shard: ShardId) -> int:
        if shard == "s1":
            raise BackendUnreachable("the node does not answer", shard="s1", hint="wait")
        if shard == "s2":
            raise OperationalError("SELECT 1", {}, ValueError("first line\nsecond line"))
        return 1

    report = map_shards(SHARDS, call, fan_out)
    assert report.values == {"s0": 1}
    assert [outcome.shard for outcome in report.failed] == ["s1", "s2"]
    with pytest.raises(ScatterFailed) as failed:
        report.raise_if_failed()
    assert failed.value.message == (
        "2 of 3 shards failed: s1: BackendUnreachable: the node does not answer; "
        "s2: ValueError: first line"
    )
    assert failed.value.__cause__ is report.failed[0].error
