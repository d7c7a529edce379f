"""How the tables of a fleet are spread over its shards."""

from dataclasses import dataclass
from enum import StrEnum

from shardrouter.topology.ids import ShardId


class KeyType(StrEnum):
    """Column types that can be a shard key (reference: Postgres' own hash functions)."""

    INT2 = "int2"
    INT4 = "int4"
    INT8 = "int8"
    TEXT = "text"
    VARCHAR = "varchar"
    UUID = "uuid"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"


class TableKind(StrEnum):
    SHARDED = "sharded"
    REFERENCE = "reference"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """One column of a shard key."""

    name: str
    type: KeyType


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the registry, named as Postgres folds it (``schema.table``)."""

    name: str
    kind: TableKind
    key: tuple[KeyColumn, ...] = ()
    """Key columns in hashing order; only of sharded tables."""

    shard: ShardId | None = None
    """The one shard that holds a local table."""

    schema: str = "public"

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"
