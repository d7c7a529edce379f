"""The byte rate, and what copying and deleting rest for."""

import pytest

from shardrouter.postgres.moving import StandbyPosition
from shardrouter.rebalance.copying.throttle import MB, ByteBucket, lagging, percentile, slowness


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_lets_the_rate_through():
    clock = Clock()
    bucket = ByteBucket(lambda: 1000, clock)
    waited = 0.0
    for _ in range(100):
        seconds = bucket.take(100)
        waited += seconds
        clock.now += seconds
    assert waited == pytest.approx(10.0, abs=0.5)


def test_the_rate_may_change_and_there_may_be_none():
    clock, rate = Clock(), [None, 1000]
    bucket = ByteBucket(lambda: rate[0], clock)
    assert bucket.take(10**9) == 0.0
    rate.pop(0)
    assert bucket.take(1000) + bucket.take(1000) > 1.0


@pytest.mark.parametrize(
    ("values", "part", "found"), [([], 0.99, 0.0), ([3.0], 0.99, 3.0), (range(100), 0.99, 99)]
)
def test_percentile(values: list[float], part: float, found: float):
    assert percentile(values, part) == found


def test_slow_probes_are_a_reason_to_rest():
    assert slowness([0.001] * 100, 5.0) is None
    assert slowness([0.001] * 90 + [0.01] * 10, 5.0) == "a p99 of 10.0 ms, 5 ms are allowed"
    assert slowness([9.0], None) is None


def test_a_replica_far_behind_is_one():
    near = StandbyPosition("r1", 0, 0, 0, MB)
    far = StandbyPosition("r2", 0, 0, 0, 65 * MB)
    assert lagging([near], 64 * MB) is None
    assert lagging([near, far], 64 * MB) == "replica r2, 65 MB behind"
