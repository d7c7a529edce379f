"""What the monitor saw of each node: role, position, lag.

Pure: control.monitor feeds samples in, everybody else reads the immutable view.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from shardrouter.topology import NodeId, Position, Shard


@dataclass(frozen=True, slots=True)
class NodeSample:
    """One look at one node. Times are seconds on the monotonic clock."""

    node: NodeId
    at: float
    """When the question was sent: the answer is at least as fresh as this."""

    in_recovery: bool = False
    position: Position | None = None
    """Replay position of a replica, insert position of a primary."""

    system_id: str = ""
    """``system_identifier``: equal on all nodes that replicate from each other."""

    error: str | None = None
    """Why the node gave no answer; then nothing else is known."""

    lag_bytes: int | None = None
    lag_seconds: float | None = None
    """Upper bound of how old this replica's rows were at ``at``; None when unknown."""

    @property
    def is_up(self) -> bool:
        return self.error is None


@dataclass(frozen=True, slots=True)
class FleetView:
    """The latest sample of each node, swapped whole."""

    samples: Mapping[NodeId, NodeSample] = field(default_factory=dict)

    def of(self, node: NodeId) -> NodeSample | None:
        return self.samples.get(node)

    def with_sample(self, sample: NodeSample) -> "FleetView":
        return FleetView({**self.samples, sample.node: sample})

    def without_strangers(self, known: frozenset[NodeId]) -> "FleetView":
        """Forget the nodes that left the topology."""
        return FleetView({k: v for k, v in self.samples.items() if k in known})


class PrimaryTrail:
    """Where a shard's primary was, over the last samples.

    Lag in seconds is read off this trail instead of replay timestamps: those stand still on an
    idle primary and depend on two clocks.
    """

    __slots__ = ("_lsns", "_timeline", "_times")

    KEPT = 512  # samples; at four a second this covers two minutes

    def __init__(self) -> None:
        self._timeline = 0
        self._times: list[float] = []
        self._lsns: list[int] = []

    def add(self, at: float, position: Position) -> None:
        """Note where the primary was. A new timeline starts a new trail."""
        if position.timeline != self._timeline:
            self._timeline, self._times, self._lsns = position.timeline, [], []
        if self._lsns and position.lsn == self._lsns[-1]:
            self._times[-1] = at  # idle: whoever has this LSN had everything up to now
            return
        self._times.append(at)
        self._lsns.append(position.lsn)
        if len(self._lsns) > self.KEPT:
            del self._lsns[: self.KEPT // 2], self._times[: self.KEPT // 2]

    def measure(self, sample: NodeSample) -> NodeSample:
        """Return the replica's sample with its lag filled in.

        The seconds are an upper bound: the time since the primary was last seen at a position
        that the replica has replayed. They grow while the primary does not answer.
        """
        if sample.position is None or not self._lsns or sample.position.timeline != self._timeline:
            return sample
        had = max(0, bisect_right(self._lsns, sample.position.lsn) - 1)
        return replace(
            sample,
            lag_bytes=max(0, self._lsns[-1] - sample.position.lsn),
            lag_seconds=max(0.0, sample.at - self._times[had]),
        )


def is_foreign(shard: Shard, view: FleetView, node: NodeId) -> bool:
    """True when the node is known not to replicate from the shard's primary.

    A DSN that points to another system would answer with rows of another database.
    """
    mine, primary = view.of(node), view.of(shard.primary.id)
    if mine is None or primary is None or not mine.system_id or not primary.system_id:
        return False
    return mine.system_id != primary.system_id
