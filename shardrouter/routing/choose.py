"""Choose which node answers: the node that takes writes, the replicas that may be read.

Pure: topology, the monitor's view, load and demand in; nodes out. Nothing here asks Postgres.
"""

from collections.abc import Callable
from dataclasses import dataclass

from shardrouter.errors import NoPrimary
from shardrouter.routing.view import FleetView, NodeSample, is_foreign
from shardrouter.topology import Epoch, Node, Position, Shard


@dataclass(frozen=True, slots=True)
class ReadDemand:
    """What a read asks of a replica."""

    need: Position | None = None
    """The session's last commit on the shard, which the replica must have replayed."""

    max_lag_seconds: float | None = None
    zone: str = ""
    floor: Position | None = None
    """Where the shard got the last rows from another shard (``Topology.floor``): before it, a
    replica lacks rows that the shard owns, or has some that it does not own any more."""

    def is_met_by(self, position: Position) -> bool:
        """True when a server that has replayed so far may answer."""
        if self.floor is not None and not self.floor.is_reached_by(position):
            return False
        return self.need is None or self.need.is_reached_by(position)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A replica that may answer; ``is_fresh`` when its sample already proves it."""

    node: Node
    is_fresh: bool


def writable_node(shard: Shard, view: FleetView, epoch: Epoch, before: Node | None = None) -> Node:
    """Return the node that takes the shard's writes.

    That is the topology's primary, unless two signals agree that another took over: the primary
    is in recovery or does not answer, and exactly one other node of the same system is out of
    recovery on a later timeline. ``before`` is the node that took them until now: a successor
    keeps them when the old primary comes back on its old timeline. Raises NoPrimary when the
    primary is known to be in recovery or superseded, and no such node takes writes.
    """
    primary = shard.primary
    seen = view.of(primary.id)
    if before is not None and before != primary and _is_later(view, before, primary):
        return _successor(shard, view, epoch, before)
    if seen is None or (seen.is_up and not seen.in_recovery):
        return primary
    promoted = [node for node in shard.replicas if _took_over(shard, view, node)]
    if len(promoted) == 1:
        return promoted[0]
    if not seen.is_up:
        return primary  # the monitor may be wrong: let the connection attempt speak
    raise NoPrimary(
        f"{primary.id} is in recovery and "
        + ("no other node took over" if not promoted else f"{len(promoted)} nodes claim to be"),
        shard=shard.id,
        node=primary.id,
        epoch=epoch,
        hint="finish the failover (pg_promote), then the router follows within a second; "
        "`shardrouter status` or `topology show` lists the nodes",
    )


def _is_later(view: FleetView, node: Node, primary: Node) -> bool:
    """True when a node's history, as it was seen last, goes on from where the primary's ended."""
    later, old = view.of(node.id), view.of(primary.id)
    if later is None or later.position is None or old is None or old.position is None:
        return False
    return later.system_id == old.system_id and later.position.timeline > old.position.timeline


def _successor(shard: Shard, view: FleetView, epoch: Epoch, node: Node) -> Node:
    """Return the node that took over, while it may be the one. Never the superseded primary."""
    seen = view.of(node.id)
    if seen is not None and not seen.in_recovery and node in shard.replicas:
        return node
    raise NoPrimary(
        f"{node.id} took over from {shard.primary.id} and takes no writes now",
        shard=shard.id,
        node=node.id,
        epoch=epoch,
        hint="promote one node and publish the topology with it as the primary",
    )


def _took_over(shard: Shard, view: FleetView, node: Node) -> bool:
    sample, old = view.of(node.id), view.of(shard.primary.id)
    if sample is None or not sample.is_up or sample.in_recovery or sample.position is None:
        return False
    if is_foreign(shard, view, node.id):
        return False
    return old is None or old.position is None or sample.position.timeline > old.position.timeline


def read_candidates(
    shard: Shard,
    view: FleetView,
    demand: ReadDemand,
    load: Callable[[Node], int],
    now: float,
) -> list[Candidate]:
    """Return the replicas that may answer, best first.

    Fresh ones come first, the least loaded before the others; then those that may still catch
    up, the furthest first. Dead, promoted, foreign and too slow replicas are left out, and so
    are those never sampled.
    """
    fresh: list[tuple[tuple[bool, int, float], Node]] = []
    behind: list[tuple[int, Node]] = []
    for node in shard.replicas:
        sample = view.of(node.id)
        if sample is None or sample.position is None or not _may_read(shard, view, sample):
            continue
        if not _is_within(demand.max_lag_seconds, sample, now):
            continue
        if demand.is_met_by(sample.position):
            away = bool(demand.zone) and node.zone != demand.zone
            fresh.append(((away, load(node), sample.lag_seconds or 0.0), node))
        else:
            behind.append((-sample.position.lsn, node))
    fresh.sort(key=lambda item: item[0])
    behind.sort(key=lambda item: item[0])
    return [Candidate(node, True) for _, node in fresh] + [
        Candidate(node, False) for _, node in behind
    ]


def _may_read(shard: Shard, view: FleetView, sample: NodeSample) -> bool:
    return sample.is_up and sample.in_recovery and not is_foreign(shard, view, sample.node)


def _is_within(max_lag_seconds: float | None, sample: NodeSample, now: float) -> bool:
    """True when the replica is surely not further behind than asked, counting the sample's age."""
    if max_lag_seconds is None:
        return True
    if sample.lag_seconds is None:
        return False
    return sample.lag_seconds + max(0.0, now - sample.at) <= max_lag_seconds
