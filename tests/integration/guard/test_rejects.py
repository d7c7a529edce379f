"""A row of a slot the shard does not own is rejected, whatever statement brings it."""

import json
import subprocess

import psycopg
import pytest

from shardrouter.errors import SlotNotOwned
from shardrouter.topology import key_slot
from tests.support.guarded import Guarded


def refused(connection: psycopg.Connection[tuple[object, ...]], statement: str) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(statement.encode())
    assert caught.value.sqlstate == SlotNotOwned.sqlstate
    return caught.value


@pytest.fixture
def shard(guarded: Guarded):
    with guarded.connect() as connection:
        yield connection


def test_rows_of_owned_slots_are_written(guarded: Guarded, shard) -> None:
    mine, other = guarded.key_of("s0"), guarded.key_of("s0", 1)
    assert key_slot(mine, 4096) != key_slot(other, 4096)
    shard.execute(f"INSERT INTO orders VALUES (1, {mine}), (2, {other})")
    shard.execute("UPDATE orders SET note = 'seen'")
    shard.execute(f"UPDATE orders SET user_id = {other} WHERE id = 1")
    assert shard.execute("DELETE FROM orders").rowcount == 2


def test_the_refusal_says_who_where_and_what_to_do(guarded: Guarded, shard) -> None:
    stranger = guarded.key_of("s1")
    slot = key_slot(stranger, 4096)
    error = refused(shard, f"INSERT INTO orders VALUES (1, {stranger})")
    assert error.diag.message_primary == (
        f"shard s0 does not own slot {slot} of key ({stranger}) in table public.orders"
        f" (epoch {guarded.topology.epoch})"
    )
    assert error.diag.message_hint and "load the topology again" in error.diag.message_hint
    assert (error.diag.schema_name, error.diag.table_name) == ("public", "orders")
    assert json.loads(error.diag.message_detail or "") == {
        "schema": "public",
        "table": "orders",
        "key_columns": ["user_id"],
        "shard": "s0",
        "epoch": guarded.topology.epoch,
        "slot": slot,
        "key": [stranger],
        "operation": "INSERT",
    }


def test_updates_are_judged_by_both_rows(guarded: Guarded, shard) -> None:
    mine, stranger = guarded.key_of("s0"), guarded.key_of("s1")
    shard.execute(f"INSERT INTO orders VALUES (1, {mine})")
    error = refused(shard, f"UPDATE orders SET user_id = {stranger}")
    assert json.loads(error.diag.message_detail or "")["key"] == [stranger]
    assert shard.execute("SELECT user_id FROM orders").fetchall() == [(mine,)]


def test_a_left_over_copy_can_neither_be_updated_nor_deleted(guarded: Guarded, shard) -> None:
    moved, mine = guarded.key_of("s0"), guarded.key_of("s0", 1)
    shard.execute(f"INSERT INTO orders VALUES (1, {moved}), (2, {mine})")
    guarded.install(guarded.without("s0", moved))
    for statement in (
        "UPDATE orders SET note = 'stale' WHERE id = 1",
        f"UPDATE orders SET user_id = {mine} WHERE id = 1",
        "DELETE FROM orders WHERE id = 1",
    ):
        error = refused(shard, statement)
        assert json.loads(error.diag.message_detail or "")["key"] == [moved]
    assert shard.execute("DELETE FROM orders WHERE id = 2").rowcount == 1


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO orders SELECT g, {stranger} FROM generate_series(1, 3) g",
        "INSERT INTO orders VALUES (1, {stranger}) ON CONFLICT (id) DO UPDATE SET note = 'again'",
        "INSERT INTO orders VALUES (9, {mine}) ON CONFLICT (id) DO UPDATE SET user_id = {stranger}",
        "MERGE INTO orders o USING (VALUES (9)) v (id) ON o.id = v.id {merge_update}",
        "MERGE INTO orders o USING (VALUES (1)) v (id) ON o.id = v.id {merge_insert}",
        "WITH new AS (INSERT INTO orders VALUES (1, {stranger}) RETURNING id) SELECT * FROM new",
        "UPDATE orders SET user_id = {stranger} WHERE id = 9",
    ],
)
def test_every_kind_of_write_is_guarded(guarded: Guarded, shard, statement: str) -> None:
    mine, stranger = guarded.key_of("s0"), guarded.key_of("s1")
    shard.execute(f"INSERT INTO orders VALUES (9, {mine})")
    merges = {
        "merge_update": f"WHEN MATCHED THEN UPDATE SET user_id = {stranger}",
        "merge_insert": f"WHEN NOT MATCHED THEN INSERT (id, user_id) VALUES (1, {stranger})",
    }
    refused(shard, statement.format(mine=mine, stranger=stranger, **merges))
    assert shard.execute("SELECT id, user_id FROM orders").fetchall() == [(9, mine)]


def test_copy_is_guarded(guarded: Guarded, shard) -> None:
    copying = shard.cursor().copy("COPY orders (id, user_id) FROM STDIN")
    with pytest.raises(psycopg.Error, match="does not own slot") as caught, copying as copy:
        copy.write_row((1, guarded.key_of("s0")))
        copy.write_row((2, guarded.key_of("s1")))
    assert caught.value.sqlstate == SlotNotOwned.sqlstate
    assert shard.execute("SELECT count(*) FROM orders").fetchone() == (0,)


def test_a_null_key_is_refused_as_such(guarded: Guarded, shard) -> None:
    shard.execute("ALTER TABLE orders ALTER user_id DROP NOT NULL")
    with pytest.raises(psycopg.errors.NotNullViolation, match="orders is NULL"):
        shard.execute("INSERT INTO orders VALUES (1, NULL)")


def test_psql_on_the_wrong_shard_is_rejected(guarded: Guarded) -> None:
    psql = guarded.cluster.fleet.binaries.program("psql")
    insert = f"INSERT INTO orders VALUES (1, {guarded.key_of('s1')})"
    command = [psql, "-X", "-v", "VERBOSITY=verbose", "-c", insert, guarded.cluster.dsn("s0-p")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "ERROR:  SR001: shard s0 does not own slot" in done.stderr
    assert "HINT:  the slot belongs to another shard" in done.stderr
