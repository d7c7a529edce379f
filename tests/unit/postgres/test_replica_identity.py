"""The index that carries a replica identity."""

from shardrouter.postgres import identity_sql
from shardrouter.postgres.replica_identity import identity_index_name
from shardrouter.topology import KeyColumn, KeyType, Table, TableKind

KEY = (KeyColumn("tenant", KeyType.INT8), KeyColumn("user", KeyType.INT8))


def test_the_index_holds_the_primary_key_and_then_what_the_key_adds() -> None:
    make, use = identity_sql(Table("orders", TableKind.SHARDED, KEY), ["id", "user"])
    assert make == (
        'CREATE UNIQUE INDEX IF NOT EXISTS "orders_shardrouter_identity"'
        ' ON "public"."orders" ("id", "user", "tenant")'
    )
    assert use == (
        'ALTER TABLE "public"."orders" REPLICA IDENTITY USING INDEX "orders_shardrouter_identity"'
    )


def test_long_names_are_cut_between_characters_and_kept_apart() -> None:
    names = {
        identity_index_name(Table(name, TableKind.SHARDED, KEY))
        for name in ("x" * 63, "x" * 62 + "y", "я" * 31, "я" * 30 + "ю")
    }
    assert len(names) == 4
    assert all(len(name.encode()) <= 63 for name in names)
