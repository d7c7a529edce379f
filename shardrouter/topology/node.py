"""One Postgres server and its role."""

from dataclasses import dataclass
from enum import StrEnum

from shardrouter.topology.ids import NodeId


class Role(StrEnum):
    PRIMARY = "primary"
    REPLICA = "replica"


@dataclass(frozen=True, slots=True)
class Node:
    """One Postgres server of a shard."""

    id: NodeId
    role: Role
    dsn: str
    """libpq connection string or URL. May hold a password: print ``public_dsn`` instead."""

    zone: str = ""
    """Where the node stands; replicas of the reader's zone are preferred when not empty."""
