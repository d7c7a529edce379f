"""Queries by slot, as routers count and report them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0004"
down_revision = "0003"

SCHEMA = "shardrouter"


def upgrade() -> None:
    op.create_table(
        "router_loads",
        sa.Column("router", sa.Uuid, nullable=False),
        sa.Column(
            "reported_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("clock_timestamp()"),
        ),
        sa.Column("slots", ARRAY(sa.Integer), nullable=False),
        sa.Column("queries", ARRAY(sa.BigInteger), nullable=False),
        sa.PrimaryKeyConstraint("router", name="router_loads_pkey"),
        sa.CheckConstraint(
            "cardinality(slots) = cardinality(queries)", name="router_loads_slots_check"
        ),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.drop_table("router_loads", schema=SCHEMA)
