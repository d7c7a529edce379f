"""The tables of the catalog as code. Postgres gets them from ``migrations/`` only.

A test compares the two. All times are the catalog's clock.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

SCHEMA: Final = "shardrouter"
CHANNEL: Final = "shardrouter_topology"
"""NOTIFY channel of a publish; the payload is the new epoch."""

VERSION_TABLE: Final = "alembic_version"

metadata: Final = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    },
)


def moment(name: str, *, stamped: bool = True) -> Column[datetime]:
    """Return a column of times. stamped: it defaults to now, by the catalog's clock."""
    default = text("clock_timestamp()") if stamped else None
    return Column(name, DateTime(timezone=True), nullable=False, server_default=default)


fleet: Final = Table(
    "fleet",
    metadata,
    Column("one", Boolean, primary_key=True, server_default=true()),
    Column("id", Uuid, nullable=False, server_default=func.gen_random_uuid()),
    Column("slots", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
    moment("founded_at"),
    CheckConstraint("one", name="one"),
    CheckConstraint("slots BETWEEN 16 AND 16384 AND slots & (slots - 1) = 0", name="slots"),
    CheckConstraint("epoch >= 0", name="epoch"),
)
"""One row: who the fleet is. Epoch 0: no topology was published yet."""

topology: Final = Table(
    "topology",
    metadata,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("document", JSONB, nullable=False),
    moment("published_at"),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    CheckConstraint("epoch > 0", name="epoch"),
)
"""Every topology ever published."""

routers: Final = Table(
    "routers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    moment("registered_at"),
    moment("renewed_at"),
    moment("expires_at", stamped=False),
    Column("drained_epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("writers_drained_epoch", BigInteger, nullable=False, server_default=text("0")),
    Index(None, "expires_at"),
)
"""Living routers, the epoch each one serves, and until when it may without a new word from us.

Drained epochs: nothing that would be in the way of the moves at that epoch, and began before it,
is open any more; all of it, and writers only.
"""

router_loads: Final = Table(
    "router_loads",
    metadata,
    Column("router", Uuid, primary_key=True),
    moment("reported_at"),
    Column("slots", ARRAY(Integer), nullable=False),
    Column("queries", ARRAY(BigInteger), nullable=False),
    CheckConstraint("cardinality(slots) = cardinality(queries)", name="slots"),
)
"""One row a router: queries by slot as they had faded when it told them last.

Rows outlive their router: what it did still counts, until it has faded.
"""

journal: Final = Table(
    "journal",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    moment("at"),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'")),
    Index(None, "at"),
)
"""What people and procedures did to the fleet."""
