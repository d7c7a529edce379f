"""The catalog's tables of moves; see ``schema``."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from shardrouter.catalog.schema import metadata, moment

moves: Final = Table(
    "moves",
    metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("run", Uuid),
    Column("slots", ARRAY(Integer), nullable=False),
    Column("source", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'planned'")),
    Column("direction", Text, nullable=False, server_default=text("'forward'")),
    Column("attempt", Integer, nullable=False, server_default=text("1")),
    Column("token", BigInteger, nullable=False, server_default=text("0")),
    Column("owner", Text),
    Column("owner_expires_at", DateTime(timezone=True)),
    Column("held", Boolean, nullable=False, server_default=false()),
    Column("wish", Text),
    Column("wished_at", DateTime(timezone=True)),
    Column("wished_by", Text),
    Column("wish_reason", Text),
    Column("attention", Text),
    Column("progress", JSONB, nullable=False, server_default=text("'{}'")),
    Column("facts", JSONB, nullable=False, server_default=text("'{}'")),
    Column("limits", JSONB, nullable=False, server_default=text("'{}'")),
    Column("copy_mode", Text, nullable=False),
    Column("soak_seconds", Double, nullable=False),
    moment("created_at"),
    moment("updated_at"),
    moment("state_at"),
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("cutover_at", DateTime(timezone=True)),
    Column("pause_seconds", Double),
    Column("cutovers", Integer, nullable=False, server_default=text("0")),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    CheckConstraint("cardinality(slots) > 0", name="slots"),
    CheckConstraint("source <> target", name="shards"),
    CheckConstraint("direction IN ('forward', 'back')", name="direction"),
    CheckConstraint("(owner IS NULL) = (owner_expires_at IS NULL)", name="owner"),
    CheckConstraint("(wish IS NULL) = (wished_at IS NULL)", name="wish"),
    Index(
        "moves_unfinished_idx",
        "number",
        postgresql_where=text("state NOT IN ('done', 'aborted', 'reversed')"),
    ),
)
"""One row a move of slots between two shards, for ever. ``topology.move`` has the states.

``token`` grows with every claim; whoever writes with an older one is refused.
"""

move_artefacts: Final = Table(
    "move_artefacts",
    metadata,
    Column("move", BigInteger, ForeignKey(moves.c.number), primary_key=True),
    Column("shard", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    moment("recorded_at"),
)
"""What moves make on shards. A row is written before its artefact is made, and deleted after the
artefact is gone: so a crash leaves nothing that is not on this list.
"""
