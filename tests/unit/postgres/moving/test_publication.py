"""The text of a publication."""

from shardrouter.postgres.moving import publication_sql
from shardrouter.topology import KeyColumn, KeyType, Slot, Table, TableKind
from shardrouter.topology.move import Direction

B = Table('b "x" %', TableKind.SHARDED, (KeyColumn("k", KeyType.TEXT),), schema="s'1")
A = Table("a", TableKind.SHARDED, (KeyColumn("k", KeyType.INT8),))


def test_only_slots_and_own_markers_and_never_truncate():
    sql = publication_sql(
        "sr_1", [B, A], [Slot(3)], 16, move=7, attempt=2, direction=Direction.BACK
    )
    assert sql.startswith('CREATE PUBLICATION "sr_1" FOR TABLE "public"."a" WHERE (')
    assert '"s\'1"."b ""x"" %" WHERE (' in sql
    assert "E'\\\\x0800'::pg_catalog.bytea" in sql
    assert "move_marker WHERE (move = 7 AND attempt = 2 AND direction = 'back')" in sql
    assert "publish = 'insert, update, delete', publish_via_partition_root = true" in sql
