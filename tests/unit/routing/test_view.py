"""Lag is measured against where the primary was seen, never against a clock of Postgres."""

from shardrouter.routing import NodeSample, PrimaryTrail
from shardrouter.topology import NodeId, Position

REPLICA = NodeId("s0-r1")


def replica(at: float, lsn: int, timeline: int = 1) -> NodeSample:
    return NodeSample(REPLICA, at=at, in_recovery=True, position=Position(timeline, lsn))


def trail(*seen: tuple[float, int]) -> PrimaryTrail:
    result = PrimaryTrail()
    for at, lsn in seen:
        result.add(at, Position(1, lsn))
    return result


def test_caught_up_replica_is_as_old_as_the_last_look_at_the_primary() -> None:
    sample = trail((10.0, 100), (11.0, 200)).measure(replica(11.25, 200))
    assert (sample.lag_bytes, sample.lag_seconds) == (0, 0.25)


def test_replica_that_lacks_the_last_write_is_as_old_as_the_position_it_has() -> None:
    sample = trail((10.0, 100), (11.0, 200), (12.0, 300)).measure(replica(12.5, 250))
    assert (sample.lag_bytes, sample.lag_seconds) == (50, 1.5)


def test_idle_time_of_the_primary_is_not_lag() -> None:
    sample = trail((10.0, 100), (90.0, 100), (91.0, 200)).measure(replica(91.5, 100))
    assert sample.lag_seconds == 1.5


def test_lag_grows_while_the_primary_does_not_answer() -> None:
    sample = trail((10.0, 100)).measure(replica(70.0, 100))
    assert sample.lag_seconds == 60.0


def test_replica_behind_everything_remembered_is_at_least_that_old() -> None:
    sample = trail((10.0, 100), (11.0, 200)).measure(replica(12.0, 5))
    assert (sample.lag_bytes, sample.lag_seconds) == (195, 2.0)


def test_lag_is_unknown_on_another_timeline_and_before_the_first_look() -> None:
    assert trail((10.0, 100)).measure(replica(10.5, 100, timeline=2)).lag_seconds is None
    assert PrimaryTrail().measure(replica(10.5, 100)).lag_seconds is None


def test_a_new_timeline_starts_a_new_trail() -> None:
    seen = trail((10.0, 500))
    seen.add(11.0, Position(2, 400))
    assert seen.measure(replica(11.5, 400, timeline=2)).lag_seconds == 0.5


def test_the_trail_is_bounded() -> None:
    seen = trail(*((float(i), i) for i in range(10 * PrimaryTrail.KEPT)))
    last = 10 * PrimaryTrail.KEPT - 1
    assert seen.measure(replica(last + 1.0, last)).lag_seconds == 1.0
    assert len(seen._lsns) <= PrimaryTrail.KEPT
