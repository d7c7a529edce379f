"""What routing knows in this worker: topology, the monitor's view, and the pools of the nodes.

``standing.version`` grows whenever the primary of a shard may be another one; sessions keep their
choice as long as it stands.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from shardrouter.control import Monitor, lease_clock
from shardrouter.errors import NoPrimary, ShardRouterError
from shardrouter.proxy.relay.pool import NodePool, PoolKey
from shardrouter.proxy.relay.standing import Standing
from shardrouter.proxy.relay.tally import Tally
from shardrouter.proxy.telemetry.metrics_snapshot import BUCKETS
from shardrouter.routing import writable_node
from shardrouter.topology import Node, NodeId, Role, Shard, ShardId, Topology

logger = logging.getLogger(__name__)


class TopologySource(Protocol):
    """A keeper of the catalog's topology, or a file's."""

    def current(self) -> Topology: ...

    def on_change(self, callback: Callable[[Topology], None]) -> None: ...

    def on_lease(self, callback: Callable[[float], None]) -> None: ...


class Fleet:
    """The nodes as this worker may use them now. Belongs to one event loop."""

    def __init__(
        self,
        source: TopologySource,
        monitor: Monitor,
        open_pool: Callable[[PoolKey, Shard, Node, Tally, bool], NodePool],
    ) -> None:
        self.source = source
        self.monitor = monitor
        self.standing = Standing(lease_clock)
        self.pools: dict[PoolKey, NodePool] = {}
        self.tallies: dict[tuple[ShardId, Role], Tally] = {}
        self._open_pool = open_pool
        self._primaries: dict[ShardId, Node | NoPrimary] = {}
        self._writers: dict[ShardId, Node] = {}  # who took the writes last
        self._topology: Topology | None = None
        self._waiting_for_view: list[Callable[[], None]] = []
        self._followers: list[Callable[[Topology], None]] = []
        source.on_change(lambda topology: self._look())
        source.on_lease(self._extend)
        monitor.on_view(self._look)

    @property
    def topology(self) -> Topology:
        """The topology to route by. Raises LeaseExpired."""
        return self.source.current()

    def primary(self, shard: Shard) -> Node:
        """Return the node that takes the shard's writes. Raises NoPrimary."""
        if self._topology is not self.topology:
            self._look()
        found = self._primaries[shard.id]
        if isinstance(found, NoPrimary):
            raise found
        return found

    def pool(
        self,
        shard: Shard,
        node: Node,
        user: str,
        database: str,
        startup: tuple[tuple[str, str], ...],
    ) -> NodePool:
        """Return the pool of a user on a node."""
        key = PoolKey(node.id, node.dsn, user, database, startup)
        found = self.pools.get(key)
        if found is None:
            role = self.role_of(shard, node)
            is_for_writes = role is Role.PRIMARY
            found = self._open_pool(key, shard, node, self.tally(shard.id, role), is_for_writes)
            self.pools[key] = found
        return found

    def role_of(self, shard: Shard, node: Node) -> Role:
        """Return the role the node has now, as far as it is known."""
        primary = self._primaries.get(shard.id)
        is_primary = isinstance(primary, Node) and primary.id == node.id
        return Role.PRIMARY if is_primary else Role.REPLICA

    def tally(self, shard: ShardId, role: Role) -> Tally:
        """Return the counters of a shard in a role."""
        found = self.tallies.get((shard, role))
        if found is None:
            found = self.tallies[shard, role] = Tally(BUCKETS)
        return found

    def taken(self) -> Topology | None:
        """Return the topology that choices are made by, also when no lease is left on it."""
        return self._topology

    def on_topology(self, callback: Callable[[Topology], None]) -> None:
        """Have ``callback(topology)`` called as soon as choices are made by a new one."""
        self._followers.append(callback)

    def next_view(self, callback: Callable[[], None]) -> None:
        """Call back once, after the monitor's view or the topology changed."""
        self._waiting_for_view.append(callback)

    def suspect(self, node: NodeId) -> None:
        """Somebody saw what does not fit the node's role: look at it now."""
        self.monitor.request_sample(node)

    def _extend(self, deadline: float) -> None:
        with suppress(ShardRouterError):
            # A topology may have come while no lease held: choices end before the lease goes on.
            if self.source.current() is not self._topology:
                self._look()
        self.standing.deadline = deadline

    def _look(self) -> None:
        """Find the primaries anew; tell those who wait for a change."""
        topology = self._topology
        with suppress(ShardRouterError):  # no lease now: sessions are refused by ``topology``
            topology = self.source.current()
        if topology is not None:
            self._take(topology)
        waiting, self._waiting_for_view = self._waiting_for_view, []
        for callback in waiting:
            callback()

    def _take(self, topology: Topology) -> None:
        primaries: dict[ShardId, Node | NoPrimary] = {}
        for shard in topology.shards:
            before = self._writers.get(shard.id)
            try:
                found = writable_node(shard, self.monitor.view, topology.epoch, before)
                primaries[shard.id] = self._writers[shard.id] = found
            except NoPrimary as error:
                primaries[shard.id] = error
        if topology is not self._topology or not _are_same(primaries, self._primaries):
            self.standing.version += 1
            for shard_id, node in primaries.items():
                name = "none" if isinstance(node, NoPrimary) else node.id
                logger.info("primary shard=%s node=%s epoch=%d", shard_id, name, topology.epoch)
        is_new = topology is not self._topology
        self._topology, self._primaries = topology, primaries
        self._follow_roles(topology)
        if is_new:
            self._retire(topology)
            for follow in self._followers:
                follow(topology)

    def _follow_roles(self, topology: Topology) -> None:
        """Pools of promoted and demoted nodes count for their new role."""
        for pool in list(self.pools.values()):  # who waited for one may open another
            try:
                shard = topology.shard(pool.shard.id)
            except ShardRouterError:
                continue
            role = self.role_of(shard, pool.node)
            if (role is Role.PRIMARY) != pool.is_for_writes:
                pool.change_role(role is Role.PRIMARY, self.tally(shard.id, role))

    def _retire(self, topology: Topology) -> None:
        """Close the pools of nodes that left, or moved to another address."""
        present = {(node.id, node.dsn) for _, node in topology.nodes()}
        for key in [key for key in self.pools if (key.node, key.dsn) not in present]:
            self.pools.pop(key).retire()


def _are_same(one: dict[ShardId, Node | NoPrimary], other: dict[ShardId, Node | NoPrimary]) -> bool:
    if one.keys() != other.keys():
        return False
    return all(
        found is other[shard]
        or (isinstance(found, NoPrimary) and isinstance(other[shard], NoPrimary))
        for shard, found in one.items()
    )
