"""Fleet, topologies by epoch, routers with leases, journal."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

SCHEMA = "shardrouter"


def _moment(name: str, *, stamped: bool = True) -> sa.Column[object]:
    default = sa.text("clock_timestamp()") if stamped else None
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=default)


def upgrade() -> None:
    op.create_table(
        "fleet",
        sa.Column("one", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("id", sa.Uuid, nullable=False, server_default=sa.func.gen_random_uuid()),
        sa.Column("slots", sa.Integer, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        _moment("founded_at"),
        sa.PrimaryKeyConstraint("one", name="fleet_pkey"),
        sa.CheckConstraint("one", name="fleet_one_check"),
        sa.CheckConstraint(
            "slots BETWEEN 16 AND 16384 AND slots & (slots - 1) = 0", name="fleet_slots_check"
        ),
        sa.CheckConstraint("epoch >= 0", name="fleet_epoch_check"),
        schema=SCHEMA,
    )
    op.create_table(
        "topology",
        sa.Column("epoch", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("document", JSONB, nullable=False),
        _moment("published_at"),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("epoch", name="topology_pkey"),
        sa.CheckConstraint("epoch > 0", name="topology_epoch_check"),
        schema=SCHEMA,
    )
    op.create_table(
        "routers",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        _moment("registered_at"),
        _moment("renewed_at"),
        _moment("expires_at", stamped=False),
        sa.PrimaryKeyConstraint("id", name="routers_pkey"),
        schema=SCHEMA,
    )
    op.create_index("routers_expires_at_idx", "routers", ["expires_at"], schema=SCHEMA)
    op.create_table(
        "journal",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        _moment("at"),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("detail", JSONB, nullable=False, server_default=sa.text("'{}'")),
        sa.PrimaryKeyConstraint("id", name="journal_pkey"),
        schema=SCHEMA,
    )
    op.create_index("journal_at_idx", "journal", ["at"], schema=SCHEMA)


def downgrade() -> None:
    for table in ("journal", "routers", "topology", "fleet"):
        op.drop_table(table, schema=SCHEMA)
