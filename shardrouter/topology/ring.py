"""The consistent-hashing ring: which shard a slot prefers, and which next.

Asked only while a placement is planned; routing reads the owners in the topology. A ring is
built whole and never changed: uhashring is not safe to mutate while it is read.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from uhashring import HashRing

from shardrouter.topology.ids import ShardId, Slot

POINTS_PER_WEIGHT: Final = 160  # more gains nothing: the sticky quota evens out what is left
MAX_WEIGHT: Final = 64  # of a ring; quotas stay exact, points cost 0.1 kB each


class Ring:
    """An immutable ring of the shards with a positive weight. Not empty."""

    def __init__(self, weights: Mapping[ShardId, int]) -> None:
        heaviest = max(weights.values())
        scale = min(1.0, MAX_WEIGHT / heaviest)
        # Points depend on the names alone, so ids are used: a host name may change.
        self._ring = HashRing(
            nodes={
                shard: max(1, round(weight * scale))
                for shard, weight in sorted(weights.items())
                if weight > 0
            },
            vnodes=POINTS_PER_WEIGHT,
        )

    def point(self, slot: Slot) -> int:
        """Return where the slot stands on the ring."""
        return int(self._ring.hashi(_name(slot)))

    def owner(self, slot: Slot) -> ShardId:
        """Return the shard the slot prefers."""
        return ShardId(self._ring.get_node(_name(slot)))

    def walk(self, slot: Slot) -> Iterator[ShardId]:
        """Yield each shard once, in the order the slot prefers them."""
        return (ShardId(name) for name in self._ring.iterate_nodes(_name(slot)))


def _name(slot: Slot) -> str:
    return f"slot-{slot}"  # fixed for ever: another name is another placement
