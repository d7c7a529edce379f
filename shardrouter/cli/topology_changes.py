"""Put into words what differs between two topologies. Pure; no password is ever in a word."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

from shardrouter.config import public_dsn
from shardrouter.control import describe_table
from shardrouter.topology import Node, SlotsInMotion, Topology


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not the same. An empty side: it is not there."""

    what: str
    """``shard``, ``node``, ``slots``, ``motion``, ``floor`` or ``table``."""

    name: str
    before: str
    after: str

    def to_row(self) -> dict[str, str]:
        return asdict(self)


COLUMNS: Final = ("what", "name", "before", "after")

_Named = dict[str, tuple[object, str]]
"""By name: what decides whether two are the same, and the words for it."""

_NONE: Final = (None, "")
_UNSEEN: Final = {"node": "its password", "motion": "its slots"}
"""What may differ without a word for it."""


def changes_between(before: Topology | None, after: Topology | None) -> list[Change]:
    """Return what differs, shards first. None: no topology was published yet."""
    return [
        *_compare("shard", _shards(before), _shards(after)),
        *_compare("node", _nodes(before), _nodes(after)),
        *_slots(before, after),
        *_compare("motion", _motions(before), _motions(after)),
        *_compare("floor", _floors(before), _floors(after)),
        *_compare("table", _tables(before), _tables(after)),
    ]


def node_words(node: Node) -> str:
    """Return role, zone and public connection string of a node."""
    zone = f" in {node.zone}" if node.zone else ""
    return f"{node.role}{zone} {public_dsn(node.dsn)}"


def motion_words(motion: SlotsInMotion) -> str:
    """Return how many slots are in which motion, from where to where."""
    return f"{len(motion.slots)} slots {motion.motion} from {motion.source} to {motion.target}"


def _compare(what: str, before: _Named, after: _Named) -> Iterator[Change]:
    for name in before | after:
        (old, old_words), (new, new_words) = before.get(name, _NONE), after.get(name, _NONE)
        if old == new:
            continue
        if old_words == new_words:
            new_words = f"{new_words} ({_UNSEEN[what]} changed)"
        yield Change(what, name, old_words, new_words)


def _shards(topology: Topology | None) -> _Named:
    shards = () if topology is None else topology.shards
    return {shard.id: (shard.weight, f"weight {shard.weight}") for shard in shards}


def _nodes(topology: Topology | None) -> _Named:
    nodes = () if topology is None else topology.nodes()
    return {f"{shard.id}/{node.id}": (node, node_words(node)) for shard, node in nodes}


def _slots(before: Topology | None, after: Topology | None) -> Iterator[Change]:
    if after is None:
        return
    if before is None:
        for shard, count in after.slot_counts().items():
            yield Change("slots", shard, "", f"{count} slots")
        return
    moved = Counter(
        (old, new) for old, new in zip(before.owners, after.owners, strict=True) if old != new
    )
    for (old, new), count in moved.items():
        yield Change("slots", f"{count} slots", old, new)


def _motions(topology: Topology | None) -> _Named:
    motions = () if topology is None else topology.motions
    return {f"move {motion.move}": (motion, motion_words(motion)) for motion in motions}


def _floors(topology: Topology | None) -> _Named:
    floors = () if topology is None else topology.floors
    return {shard: (position, str(position)) for shard, position in floors}


def _tables(topology: Topology | None) -> _Named:
    tables = () if topology is None else topology.tables
    return {table.full_name: (table, describe_table(table)) for table in tables}
