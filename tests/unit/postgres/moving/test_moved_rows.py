"""The text of queries on moved rows."""

import pytest

from shardrouter.postgres.moving.moved_rows import MovedRows
from shardrouter.postgres.moving.table_columns import PrimaryKey
from shardrouter.topology import KeyColumn, KeyType, Table, TableKind

TABLE = Table('t"1', TableKind.SHARDED, (KeyColumn("k", KeyType.INT8),))
ONE = MovedRows(TABLE, PrimaryKey(("k",), ('"pg_catalog"."int8"',)), ("a", 'b"'), "TRUE")
TWO = MovedRows(TABLE, PrimaryKey(("k", 'l"'), ("int8", "text")), ("a",), "TRUE")


def test_values_are_quoted():
    assert "ROW(\"k\", \"l\"\"\") > ROW('1'::int8, 'it''s'::text)" in TWO.hashes_sql(("1", "it's"))
    assert '"k" <= \'5\'::"pg_catalog"."int8"' in ONE.hashes_sql(None, ("5",))
    assert "IN (ROW('1'::int8, 'x'::text), ROW('2'::int8, 'y'::text))" in TWO.hashes_of_sql(
        [("1", "x"), ("2", "y")]
    )


@pytest.mark.parametrize("rows", [ONE, TWO])
def test_rows_come_in_the_order_of_the_key(rows):
    order = f"ORDER BY {', '.join(rows.key.quoted)}"
    assert rows.chunk_sql(None).endswith(order)
    assert rows.hashes_sql(None).endswith(order)
