"""Copy the rows of slots at a snapshot, in chunks that many sessions can carry side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.sql import Identifier
from sqlalchemy import Connection, text

from shardrouter.postgres.guard_sql import in_slots_sql, table_sql
from shardrouter.postgres.moving.copy_blocks import copy_blocks
from shardrouter.postgres.moving.table_columns import (
    has_portable_types,
    leaves,
    moved_columns,
)
from shardrouter.postgres.moving.token import check_token
from shardrouter.postgres.watchdog import answers_within
from shardrouter.topology import Slot, Table

CHUNK_BYTES: Final = 64 << 20
"""Of the source's table, what one chunk reads: bounds the work that a failed one repeats."""

BLOCK_BYTES: Final = 128 << 10  # from 64 kB on, larger blocks are not faster
CHUNK_SECONDS: Final = 900.0
"""A chunk that takes longer has a server that does not answer: the session is closed."""

OnBlock = Callable[[int, int], None]
"""Told rows and bytes of each block before it is sent; may wait (throttle), or raise to end it."""


@dataclass(frozen=True, slots=True)
class CopyPart:
    """A range of blocks of one relation of a table."""

    table: Table
    relation: str
    """The table or partition, quoted with its schema."""

    first_block: int
    end_block: int | None
    """Exclusive; None: to the end."""

    columns: tuple[str, ...]
    is_binary: bool


@dataclass(frozen=True, slots=True)
class Copied:
    rows: int
    bytes: int
    """As sent; 0 for a part that had arrived before."""


def plan_copy(
    connection: Connection, tables: Sequence[Table], *, chunk_bytes: int = CHUNK_BYTES
) -> tuple[CopyPart, ...]:
    """Cut the tables of the source into parts, larger tables first. After the snapshot was made."""
    parts: list[tuple[int, CopyPart]] = []
    for table in tables:
        columns, is_binary = moved_columns(connection, table), has_portable_types(connection, table)
        for leaf in leaves(connection, table):
            step = max(1, chunk_bytes // leaf.block_bytes)
            firsts = range(0, max(1, leaf.blocks), step)
            parts.extend(
                (
                    leaf.blocks,
                    CopyPart(
                        table,
                        leaf.quoted,
                        first,
                        first + step if first + step < leaf.blocks else None,
                        columns,
                        is_binary,
                    ),
                )
                for first in firsts
            )
    parts.sort(key=lambda sized: -sized[0])
    return tuple(part for _, part in parts)


def copy_part(
    source: Connection,
    target: Connection,
    part: CopyPart,
    slots: Sequence[Slot],
    slot_count: int,
    *,
    move: int,
    attempt: int,
    token: int,
    on_block: OnBlock,
    wait_seconds: float = CHUNK_SECONDS,
) -> Copied:
    """Copy the slots' rows of one part in one transaction of the target's, which notes the part.

    source: in the snapshot (``enter_snapshot``). target: no transaction open; its role may set
    session_replication_role. A part that is noted is not copied again. Raises MoveTakenOver.
    After any error both connections are to be closed.
    """
    of = {"move": move, "attempt": attempt, "relation": part.relation, "first": part.first_block}
    with (
        answers_within(source, wait_seconds),
        answers_within(target, wait_seconds),
        target.begin(),
    ):
        check_token(target, move, token)
        arrived = target.execute(_ARRIVED, of).scalar_one_or_none()
        if arrived is not None:
            return Copied(arrived, 0)
        target.execute(_REPLICA)
        copied = _carry(
            source, target, _read_sql(part, slots, slot_count), _write_sql(part), on_block
        )
        target.execute(_NOTE, {**of, "rows": copied.rows})
        return copied


def _carry(
    source: Connection, target: Connection, read: str, write: str, on_block: OnBlock
) -> Copied:
    total = 0
    with _driver(target).cursor() as writing:
        with writing.copy(write) as rows_in:
            for rows, block in copy_blocks(_driver(source), read, BLOCK_BYTES):
                on_block(rows, len(block))
                rows_in.write(block)
                total += len(block)
        return Copied(int(writing.rowcount), total)


def _read_sql(part: CopyPart, slots: Sequence[Slot], slot_count: int) -> str:
    bounds = [f"ctid >= '({part.first_block:d},0)'"]
    if part.end_block is not None:
        bounds.append(f"ctid < '({part.end_block:d},0)'")
    where = " AND ".join((*bounds, in_slots_sql(part.table.key, slots, slot_count)))
    query = f"SELECT {_columns_sql(part)} FROM ONLY {part.relation} WHERE {where}"
    return f"COPY ({query}) TO STDOUT{_format_sql(part)}"


def _write_sql(part: CopyPart) -> str:
    return f"COPY {table_sql(part.table)} ({_columns_sql(part)}) FROM STDIN{_format_sql(part)}"


def _columns_sql(part: CopyPart) -> str:
    return ", ".join(Identifier(name).as_string() for name in part.columns)


def _format_sql(part: CopyPart) -> str:
    return " (FORMAT binary)" if part.is_binary else ""


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


_REPLICA: Final = text("SELECT pg_catalog.set_config('session_replication_role', 'replica', true)")
_OF: Final = "move = :move AND attempt = :attempt AND relation = :relation AND first_block = :first"
_ARRIVED: Final = text(f"SELECT rows FROM shardrouter.move_chunk WHERE {_OF}")
_NOTE: Final = text(
    "INSERT INTO shardrouter.move_chunk (move, attempt, relation, first_block, rows)"
    " VALUES (:move, :attempt, :relation, :first, :rows)"
)
