"""A shard: a primary and its replicas holding some slots."""

from dataclasses import dataclass

from shardrouter.topology.ids import NodeId, ShardId
from shardrouter.topology.node import Node, Role


@dataclass(frozen=True, slots=True)
class Shard:
    """A primary and its replicas.

    Invariant (checked by Topology): exactly one node has the role primary.
    """

    id: ShardId
    nodes: tuple[Node, ...]
    weight: int = 1
    """Share of the slots this shard should hold, relative to the others; 0 drains it."""

    @property
    def primary(self) -> Node:
        return next(node for node in self.nodes if node.role is Role.PRIMARY)

    @property
    def replicas(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.role is Role.REPLICA)

    def node(self, node_id: NodeId) -> Node:
        """Return the node of that id. Raises KeyError when there is none."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise KeyError(node_id)
