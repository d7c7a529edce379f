"""The catalog's tables of transactions over shards and of id workers; see ``schema``."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shardrouter.catalog.schema import metadata

transaction_journal: Final = Table(
    "transaction_journal",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("branches", JSONB, nullable=False),
    Column("origin", Text, nullable=False),
    Column(
        "begun_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=text("clock_timestamp()"),
    ),
    Column("decision", Text),
    Column("decided_by", Text),
    Column("decided_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("damage", Text),
    CheckConstraint("decision IN ('commit', 'abort')", name="decision"),
    CheckConstraint("(decision IS NULL) = (decided_at IS NULL)", name="decided"),
    CheckConstraint("finished_at IS NULL OR decision IS NOT NULL", name="finished"),
    Index("transaction_journal_open_idx", "begun_at", postgresql_where=text("finished_at IS NULL")),
    Index("transaction_journal_finished_at_idx", "finished_at"),
)
"""One row a transaction over several shards, from before its first PREPARE TRANSACTION.

``branches`` maps each shard to the exact gid prepared there. ``decision`` is written once.
"""

id_workers: Final = Table(
    "id_workers",
    metadata,
    Column("number", SmallInteger, primary_key=True, autoincrement=False),
    Column("window_end_ms", BigInteger, nullable=False, server_default=text("0")),
    Column("owner", Uuid),
    Column("origin", Text),
    CheckConstraint("number BETWEEN 0 AND 511", name="number"),
)
"""The 512 worker numbers. Nobody but ``owner`` may use a tick below ``window_end_ms``.

Milliseconds since 2025-01-01 UTC on the catalog's clock.
"""
