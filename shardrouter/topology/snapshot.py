"""The topology: an immutable, validated picture of the fleet at one epoch."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from shardrouter.errors import SettingsError, UnknownShard
from shardrouter.topology.document import FORMATS, document_of, fields_from
from shardrouter.topology.ids import Epoch, ShardId, Slot, is_valid_name, is_valid_slot_count
from shardrouter.topology.motion import (
    Floors,
    Motion,
    SlotsInMotion,
    floor_problems,
    motion_problems,
)
from shardrouter.topology.node import Node, Role
from shardrouter.topology.position import Position
from shardrouter.topology.shard import Shard
from shardrouter.topology.table import Table, TableKind


@dataclass(frozen=True, slots=True)
class Topology:
    """Which shard owns each slot, which nodes a shard has, how tables are spread.

    Invariants, checked on construction (SettingsError): the slot count is a power of two; each
    slot is owned by one known shard; each shard has one primary; shard and node ids are unique
    and well formed; sharded tables have a key, local tables a known shard; no slot is in two
    motions, and the slots of a motion are owned by the shard that its ``Motion`` says.
    """

    epoch: Epoch
    shards: tuple[Shard, ...]
    owners: tuple[ShardId, ...]
    """The owner of each slot, by slot number."""

    tables: tuple[Table, ...] = ()
    motions: tuple[SlotsInMotion, ...] = ()
    """Slots on their way between shards. Other changes of the topology carry them along."""

    floors: Floors = ()
    """A replica of the shard may answer reads only when it has replayed this far: then it holds
    the rows of the slots that came to the shard. Kept for ever, replaced by later ones."""

    paused_slots: frozenset[Slot] = field(init=False, repr=False, compare=False)
    """Slots no shard takes writes to."""

    moving_slots: frozenset[Slot] = field(init=False, repr=False, compare=False)
    """Slots in any motion, the paused ones too."""

    _by_id: Mapping[ShardId, Shard] = field(init=False, repr=False, compare=False)
    _tables_by_name: Mapping[str, Table] = field(init=False, repr=False, compare=False)
    _strangers: frozenset[ShardId] = field(init=False, repr=False, compare=False)
    _floor_of: Mapping[ShardId, Position] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {shard.id: shard for shard in self.shards})
        object.__setattr__(self, "_tables_by_name", {t.full_name: t for t in self.tables})
        problems = [
            *_shard_problems(self.shards),
            *_owner_problems(self.owners, self._by_id.keys()),
            *_table_problems(self.tables, self._by_id.keys()),
            *motion_problems(self.motions, self.owners, self._by_id.keys()),
            *floor_problems(self.floors, self._by_id.keys()),
        ]
        if problems:
            raise SettingsError(
                f"topology is not valid: {'; '.join(problems)}",
                epoch=self.epoch,
                hint="publish a topology in which every slot has one owner among the shards",
            )
        self._prepare_motions()

    def _prepare_motions(self) -> None:
        """Work out what routers ask for each statement."""
        motions, paused = self.motions, Motion.PAUSED
        moving = frozenset(slot for motion in motions for slot in motion.slots)
        held = frozenset(slot for m in motions if m.motion is paused for slot in m.slots)
        strangers = frozenset(motion.stranger(self.owners) for motion in motions)
        object.__setattr__(self, "moving_slots", moving)
        object.__setattr__(self, "paused_slots", held)
        object.__setattr__(self, "_strangers", strangers)
        object.__setattr__(self, "_floor_of", dict(self.floors))

    @property
    def slots(self) -> int:
        """The slot count of the fleet."""
        return len(self.owners)

    def shard(self, shard_id: str) -> Shard:
        """Return the shard of that id. Raises UnknownShard."""
        found = self._by_id.get(ShardId(shard_id))
        if found is None:
            raise UnknownShard(
                f"there is no shard {shard_id!r}",
                epoch=self.epoch,
                hint=f"known shards: {', '.join(self._by_id)}",
            )
        return found

    def owner(self, slot: Slot) -> Shard:
        """Return the shard that owns the slot."""
        return self._by_id[self.owners[slot]]

    def slots_of(self, shard_id: ShardId) -> tuple[Slot, ...]:
        """Return the slots a shard owns, ascending."""
        return tuple(Slot(i) for i, owner in enumerate(self.owners) if owner == shard_id)

    def slot_counts(self) -> Mapping[ShardId, int]:
        """Return how many slots each shard owns, also those that own none."""
        counts = Counter(self.owners)
        return {shard.id: counts[shard.id] for shard in self.shards}

    def table(self, full_name: str) -> Table | None:
        """Return the registered table of that ``schema.name``, or None."""
        return self._tables_by_name.get(full_name)

    def is_paused(self, slot: Slot) -> bool:
        """True when no shard takes writes to the slot for now: writers wait."""
        return slot in self.paused_slots

    def motion_of(self, move: int) -> SlotsInMotion | None:
        """Return what the topology says of the slots of that move, or None."""
        return next((motion for motion in self.motions if motion.move == move), None)

    def strangers_on(self, shard_id: ShardId) -> bool:
        """True when the shard may hold rows of slots in motion that it does not own."""
        return shard_id in self._strangers

    def floor(self, shard_id: ShardId) -> Position | None:
        """Return how far a replica of the shard must have replayed before it is read from."""
        return self._floor_of.get(shard_id)

    def nodes(self) -> Iterable[tuple[Shard, Node]]:
        """Yield every node with its shard, primaries first within a shard."""
        for shard in self.shards:
            for node in sorted(shard.nodes, key=lambda n: n.role is not Role.PRIMARY):
                yield shard, node

    def next(self, **changes: Any) -> Self:
        """Return a copy with the changes, at the next epoch."""
        return replace(self, epoch=Epoch(self.epoch + 1), **changes)

    def with_motion(self, motion: SlotsInMotion, **changes: Any) -> Self:
        """Return the next topology, with this motion instead of the one of the same move.

        changes: what else is different in it, as for ``next``.
        """
        others = tuple(other for other in self.motions if other.move != motion.move)
        return self.next(motions=(*others, motion), **changes)

    def without_motion(self, move: int, **changes: Any) -> Self:
        """Return the next topology, without a motion of that move."""
        others = tuple(other for other in self.motions if other.move != move)
        return self.next(motions=others, **changes)

    def owners_with(self, slots: Iterable[Slot], owner: ShardId) -> tuple[ShardId, ...]:
        """Return the owners as they are when these slots belong to ``owner``."""
        owners = list(self.owners)
        for slot in slots:
            owners[slot] = owner
        return tuple(owners)

    def floors_with(self, shard_id: ShardId, position: Position) -> Floors:
        """Return the floors with that of the shard at ``position``, or where it was if later."""
        standing = self.floor(shard_id)
        latest = position if standing is None else standing.latest(position)
        others = tuple(item for item in self.floors if item[0] != shard_id)
        return (*others, (shard_id, latest))

    def to_document(self) -> dict[str, Any]:
        """Return the topology as plain values of JSON; ``from_document`` reads them."""
        return document_of(
            self.epoch, self.shards, self.owners, self.tables, self.motions, self.floors
        )

    def to_json(self) -> str:
        """Return the JSON form; ``from_json`` gives an equal topology back."""
        return json.dumps(self.to_document())

    @classmethod
    def from_document(cls, document: Any) -> Self:
        """Read what ``to_document`` gave. Raises SettingsError on anything else."""
        try:
            return cls(**fields_from(document))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise _unreadable(error) from error

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the JSON form. Raises SettingsError on anything else."""
        try:
            document = json.loads(text)
        except ValueError as error:
            raise _unreadable(error) from error
        return cls.from_document(document)


def _unreadable(error: Exception) -> SettingsError:
    return SettingsError(
        f"not a topology of format {' or '.join(map(str, FORMATS))}: {error!r}",
        hint="it was written by another version of shardrouter: upgrade this one",
    )


def _shard_problems(shards: Sequence[Shard]) -> Iterable[str]:
    names = Counter([s.id for s in shards])
    nodes = Counter(node.id for shard in shards for node in shard.nodes)
    for name, count in [*names.items(), *nodes.items()]:
        if count > 1:
            yield f"id {name!r} is used {count} times"
        if not is_valid_name(name):
            yield f"id {name!r} is not a name (a-z, 0-9, _ and -, 40 at most)"
    for shard in shards:
        primaries = sum(node.role is Role.PRIMARY for node in shard.nodes)
        if primaries != 1:
            yield f"shard {shard.id} has {primaries} primaries instead of one"
        if shard.weight < 0:
            yield f"shard {shard.id} has the negative weight {shard.weight}"


def _owner_problems(owners: Sequence[ShardId], known: Iterable[ShardId]) -> Iterable[str]:
    if not is_valid_slot_count(len(owners)):
        yield f"{len(owners)} slots is not a power of two from 16 to 16384"
    for stranger in sorted(set(owners) - set(known)):
        first = owners.index(stranger)
        yield f"slot {first} is owned by unknown shard {stranger!r}"


def _table_problems(tables: Sequence[Table], known: Iterable[ShardId]) -> Iterable[str]:
    shards = set(known)
    for name, count in Counter(t.full_name for t in tables).items():
        if count > 1:
            yield f"table {name} is registered {count} times"
    for table in tables:
        if (table.kind is TableKind.SHARDED) != bool(table.key):
            yield f"table {table.full_name}: a key is for sharded tables, and they need one"
        if (table.kind is TableKind.LOCAL) != (table.shard is not None):
            yield f"table {table.full_name}: a shard is for local tables, and they need one"
        if table.shard is not None and table.shard not in shards:
            yield f"table {table.full_name} is local to unknown shard {table.shard!r}"
