"""Decide which servers a fleet is made of: their names, roles and ports."""

import random
from collections.abc import Sequence
from typing import Final

from shardrouter.errors import FleetError
from shardrouter.local.ports import free_ports
from shardrouter.local.state import ServerState
from shardrouter.topology import NodeId, Role, ShardId

CATALOG_ID: Final = NodeId("catalog")
MAX_SHARDS: Final = 64
MAX_REPLICAS: Final = 8

_Name = tuple[NodeId, ShardId | None, Role]


def check_size(shards: int, replicas: int) -> None:
    """Raise FleetError unless a fleet of this size can be made on one machine."""
    if not 1 <= shards <= MAX_SHARDS or not 0 <= replicas <= MAX_REPLICAS:
        raise FleetError(
            f"{shards} shards with {replicas} replicas is not possible on one machine",
            hint=f"ask for 1 to {MAX_SHARDS} shards and 0 to {MAX_REPLICAS} replicas",
        )


def plan_servers(shards: int, replicas: int) -> tuple[ServerState, ...]:
    """Return the servers of a new fleet, each primary before its replicas, on free ports."""
    names: list[_Name] = [(CATALOG_ID, None, Role.PRIMARY)]
    for number in range(shards):
        names += _names_of(number, replicas)
    return _on_free_ports(names)


def plan_one_more(servers: Sequence[ServerState]) -> tuple[ServerState, ...]:
    """Return the servers of one more shard, with as many replicas as the first has.

    Raises FleetError when the fleet is as large as it may be.
    """
    shards = list(dict.fromkeys(server.shard_id for server in servers if server.shard_id))
    replicas = sum(s.shard_id == shards[0] and s.role is Role.REPLICA for s in servers)
    check_size(len(shards) + 1, replicas)
    return _on_free_ports(_names_of(len(shards), replicas))


def _names_of(number: int, replicas: int) -> list[_Name]:
    shard = ShardId(f"s{number}")
    copies = [(NodeId(f"{shard}-r{i + 1}"), shard, Role.REPLICA) for i in range(replicas)]
    return [(NodeId(f"{shard}-p"), shard, Role.PRIMARY), *copies]


def _on_free_ports(names: Sequence[_Name]) -> tuple[ServerState, ...]:
    ports = free_ports(len(names), random.SystemRandom())
    return tuple(ServerState(*name, port) for name, port in zip(names, ports, strict=True))
