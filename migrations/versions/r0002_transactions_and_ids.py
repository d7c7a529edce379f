"""The journal of transactions over shards, and the 512 worker numbers of ids."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"

SCHEMA = "shardrouter"
OPEN_INDEX = "transaction_journal_open_idx"
FINISHED_INDEX = "transaction_journal_finished_at_idx"


def upgrade() -> None:
    op.create_table(
        "transaction_journal",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("branches", JSONB, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column(
            "begun_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("clock_timestamp()"),
        ),
        sa.Column("decision", sa.Text),
        sa.Column("decided_by", sa.Text),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("damage", sa.Text),
        sa.PrimaryKeyConstraint("id", name="transaction_journal_pkey"),
        sa.CheckConstraint(
            "decision IN ('commit', 'abort')", name="transaction_journal_decision_check"
        ),
        sa.CheckConstraint(
            "(decision IS NULL) = (decided_at IS NULL)", name="transaction_journal_decided_check"
        ),
        sa.CheckConstraint(
            "finished_at IS NULL OR decision IS NOT NULL",
            name="transaction_journal_finished_check",
        ),
        schema=SCHEMA,
    )
    op.create_index(
        OPEN_INDEX,
        "transaction_journal",
        ["begun_at"],
        schema=SCHEMA,
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_index(FINISHED_INDEX, "transaction_journal", ["finished_at"], schema=SCHEMA)
    op.create_table(
        "id_workers",
        sa.Column("number", sa.SmallInteger, nullable=False, autoincrement=False),
        sa.Column("window_end_ms", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("owner", sa.Uuid),
        sa.Column("origin", sa.Text),
        sa.PrimaryKeyConstraint("number", name="id_workers_pkey"),
        sa.CheckConstraint("number BETWEEN 0 AND 511", name="id_workers_number_check"),
        schema=SCHEMA,
    )
    op.execute(f"INSERT INTO {SCHEMA}.id_workers (number) SELECT generate_series(0, 511)")


def downgrade() -> None:
    op.drop_table("id_workers", schema=SCHEMA)
    op.drop_table("transaction_journal", schema=SCHEMA)
