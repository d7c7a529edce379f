"""Which node takes writes, which replicas may be read: every row of the decision."""

from dataclasses import replace

import pytest

from shardrouter.errors import NoPrimary
from shardrouter.routing import FleetView, NodeSample, ReadDemand, read_candidates, writable_node
from shardrouter.topology import Epoch, Node, NodeId, Position, Role, Shard, ShardId

PRIMARY = Node(NodeId("s0-p"), Role.PRIMARY, "p", zone="a")
NEAR = Node(NodeId("s0-r1"), Role.REPLICA, "r1", zone="a")
FAR = Node(NodeId("s0-r2"), Role.REPLICA, "r2", zone="b")
SHARD = Shard(ShardId("s0"), (PRIMARY, NEAR, FAR))
EPOCH = Epoch(7)
NOW = 100.0


def sample(node: Node, lsn: int = 50, **changes: object) -> NodeSample:
    seen = NodeSample(
        node.id,
        at=NOW,
        in_recovery=node.role is Role.REPLICA,
        position=Position(1, lsn),
        system_id="7",
        lag_bytes=0,
        lag_seconds=0.0,
    )
    return replace(seen, **changes)  # type: ignore[arg-type]


def view(*samples: NodeSample) -> FleetView:
    return FleetView({s.node: s for s in samples})


def chosen(seen: FleetView, demand: ReadDemand | None = None, **loads: int) -> list[str]:
    found = read_candidates(SHARD, seen, demand or ReadDemand(), lambda n: loads.get(n.dsn, 0), NOW)
    return [f"{c.node.dsn}{'' if c.is_fresh else '?'}" for c in found]


ALL_UP = view(sample(PRIMARY), sample(NEAR), sample(FAR))


def test_least_loaded_replica_comes_first() -> None:
    assert chosen(ALL_UP, r1=3, r2=1) == ["r2", "r1"]
    assert chosen(ALL_UP, r1=1, r2=3) == ["r1", "r2"]


def test_own_zone_comes_before_load() -> None:
    assert chosen(ALL_UP, ReadDemand(zone="b"), r1=0, r2=9) == ["r2", "r1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"error": "connection refused"},
        {"in_recovery": False},
        {"position": None},
        {"system_id": "another cluster"},
    ],
)
def test_dead_promoted_unknown_and_foreign_replicas_are_left_out(changes: dict[str, str]) -> None:
    seen = view(sample(PRIMARY), sample(NEAR, **changes), sample(FAR))
    assert chosen(seen) == ["r2"]


def test_replica_never_sampled_is_left_out() -> None:
    assert chosen(view(sample(PRIMARY), sample(FAR))) == ["r2"]


def test_fresh_replicas_come_before_those_that_must_catch_up_furthest_first() -> None:
    demand = ReadDemand(need=Position(1, 60))
    assert chosen(view(sample(PRIMARY), sample(NEAR, 59), sample(FAR, 60)), demand) == [
        "r2",
        "r1?",
    ]
    assert chosen(view(sample(PRIMARY), sample(NEAR, 40), sample(FAR, 50)), demand) == [
        "r2?",
        "r1?",
    ]


def test_position_of_an_older_timeline_proves_nothing() -> None:
    demand = ReadDemand(need=Position(2, 10))
    assert chosen(view(sample(PRIMARY), sample(NEAR, 99)), demand) == ["r1?"]


def test_replica_below_the_floor_must_catch_up_whatever_the_token_says() -> None:
    seen = view(sample(PRIMARY), sample(NEAR, 59), sample(FAR, 60))
    assert chosen(seen, ReadDemand(floor=Position(1, 60))) == ["r2", "r1?"]
    assert chosen(seen, ReadDemand(need=Position(1, 40), floor=Position(1, 60))) == ["r2", "r1?"]
    assert chosen(seen, ReadDemand(need=Position(1, 61), floor=Position(1, 60))) == ["r2?", "r1?"]


def test_token_and_floor_of_two_timelines_both_count() -> None:
    demand = ReadDemand(need=Position(1, 70), floor=Position(2, 60))
    promoted = sample(FAR, position=Position(2, 65))
    assert chosen(view(sample(PRIMARY), promoted), demand) == ["r2?"]
    later = sample(FAR, position=Position(2, 70))
    assert chosen(view(sample(PRIMARY), later), demand) == ["r2"]


def test_max_lag_counts_the_age_of_the_sample() -> None:
    seen = view(sample(PRIMARY), sample(NEAR, lag_seconds=1.0, at=NOW - 1.5), sample(FAR))
    assert chosen(seen, ReadDemand(max_lag_seconds=2.0)) == ["r2"]
    assert chosen(seen, ReadDemand(max_lag_seconds=2.5)) == ["r2", "r1"]


def test_max_lag_leaves_out_a_replica_whose_lag_is_unknown() -> None:
    seen = view(sample(PRIMARY), sample(NEAR, lag_seconds=None))
    assert chosen(seen, ReadDemand(max_lag_seconds=60.0)) == []


def test_writes_go_to_the_topologys_primary() -> None:
    assert writable_node(SHARD, ALL_UP, EPOCH) is PRIMARY
    assert writable_node(SHARD, FleetView(), EPOCH) is PRIMARY


def test_primary_that_does_not_answer_is_still_tried_when_nobody_took_over() -> None:
    assert writable_node(SHARD, view(sample(PRIMARY, error="x"), sample(NEAR)), EPOCH) is PRIMARY


def test_promoted_replica_takes_over_when_the_primary_is_gone_or_demoted() -> None:
    promoted = sample(NEAR, in_recovery=False, position=Position(2, 70))
    for old in (sample(PRIMARY, error="x"), sample(PRIMARY, in_recovery=True)):
        assert writable_node(SHARD, view(old, promoted, sample(FAR)), EPOCH) is NEAR


def test_two_live_primaries_mean_the_topologys_one() -> None:
    promoted = sample(NEAR, in_recovery=False, position=Position(2, 70))
    assert writable_node(SHARD, view(sample(PRIMARY), promoted), EPOCH) is PRIMARY


def test_a_successor_stays_when_the_old_primary_comes_back() -> None:
    promoted = sample(NEAR, in_recovery=False, position=Position(2, 70))
    both = view(sample(PRIMARY), promoted)
    assert writable_node(SHARD, both, EPOCH, before=NEAR) is NEAR
    assert writable_node(SHARD, both, EPOCH, before=PRIMARY) is PRIMARY
    # It does not answer for a moment: the superseded one must not get its writes.
    silent = view(sample(PRIMARY), replace(promoted, error="x"))
    assert writable_node(SHARD, silent, EPOCH, before=NEAR) is NEAR
    demoted = view(sample(PRIMARY), replace(promoted, in_recovery=True))
    with pytest.raises(NoPrimary, match="took over"):
        writable_node(SHARD, demoted, EPOCH, before=NEAR)


def test_a_primary_that_was_promoted_back_takes_over_again() -> None:
    promoted = sample(NEAR, in_recovery=False, position=Position(2, 70))
    back = view(sample(PRIMARY, position=Position(3, 90)), promoted)
    assert writable_node(SHARD, back, EPOCH, before=NEAR) is PRIMARY


@pytest.mark.parametrize(
    "impostor",
    [
        sample(NEAR, in_recovery=False, position=Position(1, 70)),
        sample(NEAR, in_recovery=False, position=Position(2, 70), system_id="another cluster"),
        sample(NEAR, in_recovery=False, position=Position(2, 70), error="x"),
    ],
)
def test_node_without_a_later_timeline_of_the_same_system_does_not_take_over(
    impostor: NodeSample,
) -> None:
    with pytest.raises(NoPrimary, match=r"shard s0, node s0-p, epoch 7"):
        writable_node(SHARD, view(sample(PRIMARY, in_recovery=True), impostor), EPOCH)


def test_two_promoted_replicas_are_refused() -> None:
    seen = view(
        sample(PRIMARY, in_recovery=True),
        sample(NEAR, in_recovery=False, position=Position(2, 70)),
        sample(FAR, in_recovery=False, position=Position(3, 70)),
    )
    with pytest.raises(NoPrimary, match="2 nodes claim"):
        writable_node(SHARD, seen, EPOCH)
