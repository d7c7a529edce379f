"""The topology: an immutable, validated picture of the fleet at one epoch."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Self

from shardrouter.errors import SettingsError, UnknownShard
from shardrouter.topology.ids import (
    Epoch,
    NodeId,
    ShardId,
    Slot,
    is_valid_name,
    is_valid_slot_count,
)
from shardrouter.topology.node import Node, Role
from shardrouter.topology.shard import Shard
from shardrouter.topology.table import KeyColumn, KeyType, Table, TableKind

FORMAT: Final = 1  # of the JSON form; a reader refuses a newer one


@dataclass(frozen=True, slots=True)
class Topology:
    """Which shard owns each slot, which nodes a shard has, how tables are spread.

    Invariants, checked on construction (SettingsError): the slot count is a power of two; each
    slot is owned by one known shard; each shard has one primary; shard and node ids are unique
    and well formed; sharded tables have a key, local tables a known shard.
    """

    epoch: Epoch
    shards: tuple[Shard, ...]
    owners: tuple[ShardId, ...]
    """The owner of each slot, by slot number."""

    tables: tuple[Table, ...] = ()
    _by_id: Mapping[ShardId, Shard] = field(init=False, repr=False, compare=False)
    _tables_by_name: Mapping[str, Table] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {shard.id: shard for shard in self.shards})
        object.__setattr__(self, "_tables_by_name", {t.full_name: t for t in self.tables})
        problems = [
            *_shard_problems(self.shards),
            *_owner_problems(self.owners, self._by_id.keys()),
            *_table_problems(self.tables, self._by_id.keys()),
        ]
        if problems:
            raise SettingsError(
                f"topology is not valid: {'; '.join(problems)}",
                epoch=self.epoch,
                hint="publish a topology in which every slot has one owner among the shards",
            )

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

    def nodes(self) -> Iterable[tuple[Shard, Node]]:
        """Yield every node with its shard, primaries first within a shard."""
        for shard in self.shards:
            for node in sorted(shard.nodes, key=lambda n: n.role is not Role.PRIMARY):
                yield shard, node

    def next(self, **changes: Any) -> Self:
        """Return a copy with the changes, at the next epoch."""
        return replace(self, epoch=Epoch(self.epoch + 1), **changes)

    def to_json(self) -> str:
        """Return the JSON form; ``from_json`` gives an equal topology back."""
        return json.dumps(
            {
                "format": FORMAT,
                "epoch": self.epoch,
                "shards": [asdict(shard) for shard in self.shards],
                "owners": _run_lengths(self.owners),
                "tables": [asdict(table) for table in self.tables],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the JSON form. Raises SettingsError on anything else."""
        try:
            return cls._from_data(json.loads(text))
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(
                f"not a topology of format {FORMAT}: {error!r}",
                hint="it was written by another version of shardrouter: upgrade this one",
            ) from error

    @classmethod
    def _from_data(cls, data: Mapping[str, Any]) -> Self:
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']}")
        return cls(
            epoch=Epoch(int(data["epoch"])),
            shards=tuple(_shard_from(item) for item in data["shards"]),
            owners=tuple(
                ShardId(owner) for owner, count in data["owners"] for _ in range(int(count))
            ),
            tables=tuple(_table_from(item) for item in data["tables"]),
        )


def _run_lengths(owners: Sequence[ShardId]) -> list[tuple[ShardId, int]]:
    runs: list[tuple[ShardId, int]] = []
    for owner in owners:
        if runs and runs[-1][0] == owner:
            runs[-1] = (owner, runs[-1][1] + 1)
        else:
            runs.append((owner, 1))
    return runs


def _shard_from(item: Mapping[str, Any]) -> Shard:
    return Shard(
        id=ShardId(item["id"]),
        weight=int(item["weight"]),
        nodes=tuple(
            Node(NodeId(n["id"]), Role(n["role"]), str(n["dsn"]), str(n.get("zone", "")))
            for n in item["nodes"]
        ),
    )


def _table_from(item: Mapping[str, Any]) -> Table:
    shard = item["shard"]
    return Table(
        name=item["name"],
        kind=TableKind(item["kind"]),
        key=tuple(KeyColumn(k["name"], KeyType(k["type"])) for k in item["key"]),
        shard=None if shard is None else ShardId(shard),
        schema=item["schema"],
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
