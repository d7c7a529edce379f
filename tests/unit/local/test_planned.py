"""Which servers a fleet is made of."""

import pytest

from shardrouter.errors import FleetError
from shardrouter.local.planned import MAX_SHARDS, plan_one_more, plan_servers
from shardrouter.topology import Role


def test_each_primary_comes_before_its_replicas() -> None:
    servers = plan_servers(2, 1)
    assert [s.id for s in servers] == ["catalog", "s0-p", "s0-r1", "s1-p", "s1-r1"]
    assert [s.shard_id for s in servers] == [None, "s0", "s0", "s1", "s1"]
    assert len({s.port for s in servers}) == len(servers)


@pytest.mark.parametrize("replicas", [0, 2])
def test_one_more_is_like_the_others(replicas: int) -> None:
    added = plan_one_more(plan_servers(3, replicas))
    assert [s.id for s in added] == ["s3-p", *(f"s3-r{i + 1}" for i in range(replicas))]
    assert [s.role for s in added] == [Role.PRIMARY, *[Role.REPLICA] * replicas]


def test_a_fleet_is_never_too_large() -> None:
    with pytest.raises(FleetError, match=rf"{MAX_SHARDS + 1} shards with 0 replicas is not"):
        plan_one_more(plan_servers(MAX_SHARDS, 0))
