"""Moves of slots between shards, what they make there, and which writers routers have drained."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0003"
down_revision = "0002"

SCHEMA = "shardrouter"
DRAINED = ("drained_epoch", "writers_drained_epoch")


def _moment(name: str) -> sa.Column[object]:
    default = sa.text("clock_timestamp()")
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=default)


def upgrade() -> None:
    for name in DRAINED:
        op.add_column(
            "routers",
            sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0")),
            schema=SCHEMA,
        )
    _make_moves()
    op.create_index(
        "moves_unfinished_idx",
        "moves",
        ["number"],
        schema=SCHEMA,
        postgresql_where=sa.text("state NOT IN ('done', 'aborted', 'reversed')"),
    )
    op.create_table(
        "move_artefacts",
        sa.Column("move", sa.BigInteger, nullable=False),
        sa.Column("shard", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        _moment("recorded_at"),
        sa.PrimaryKeyConstraint("move", "shard", "kind", "name", name="move_artefacts_pkey"),
        sa.ForeignKeyConstraint(["move"], [f"{SCHEMA}.moves.number"], "move_artefacts_move_fkey"),
        schema=SCHEMA,
    )


def _make_moves() -> None:
    op.create_table(
        "moves",
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("run", sa.Uuid),
        sa.Column("slots", ARRAY(sa.Integer), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'planned'")),
        sa.Column("direction", sa.Text, nullable=False, server_default=sa.text("'forward'")),
        sa.Column("attempt", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("token", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("owner", sa.Text),
        sa.Column("owner_expires_at", sa.DateTime(timezone=True)),
        sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("wish", sa.Text),
        sa.Column("wished_at", sa.DateTime(timezone=True)),
        sa.Column("wished_by", sa.Text),
        sa.Column("wish_reason", sa.Text),
        sa.Column("attention", sa.Text),
        sa.Column("progress", JSONB, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("facts", JSONB, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("limits", JSONB, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("copy_mode", sa.Text, nullable=False),
        sa.Column("soak_seconds", sa.Double, nullable=False),
        _moment("created_at"),
        _moment("updated_at"),
        _moment("state_at"),
        sa.Column("epoch", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("cutover_at", sa.DateTime(timezone=True)),
        sa.Column("pause_seconds", sa.Double),
        sa.Column("cutovers", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name="moves_pkey"),
        sa.CheckConstraint("cardinality(slots) > 0", name="moves_slots_check"),
        sa.CheckConstraint("source <> target", name="moves_shards_check"),
        sa.CheckConstraint("direction IN ('forward', 'back')", name="moves_direction_check"),
        sa.CheckConstraint(
            "(owner IS NULL) = (owner_expires_at IS NULL)", name="moves_owner_check"
        ),
        sa.CheckConstraint("(wish IS NULL) = (wished_at IS NULL)", name="moves_wish_check"),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.drop_table("move_artefacts", schema=SCHEMA)
    op.drop_table("moves", schema=SCHEMA)
    for name in DRAINED:
        op.drop_column("routers", name, schema=SCHEMA)
