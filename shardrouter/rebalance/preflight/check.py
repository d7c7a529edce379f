"""Ask two shards all that decides whether a move can be done, and judge it. Changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from shardrouter.errors import MoveRefused
from shardrouter.postgres import read_table, sharded_tables
from shardrouter.postgres.moving import ShardFacts, has_rows, shard_facts, table_loads
from shardrouter.rebalance.copying.progress import EXPECTED
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.preflight.rules import (
    ForeignKey,
    Needs,
    Problem,
    TablePair,
    foreign_key_problems,
    server_notes,
    server_problems,
    table_problems,
)
from shardrouter.rebalance.preflight.schemas import table_differences
from shardrouter.rebalance.sessions import patient
from shardrouter.rebalance.watch import require_space
from shardrouter.topology import MoveState, Slot, Table, TableKind, Topology


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found."""

    problems: tuple[Problem, ...]
    """Any of them stops the move."""

    notes: tuple[str, ...]


def preflight(job: Job) -> None:
    """PLANNED: examine, note the size of the move, go on. Raises MoveRefused."""
    findings = require_fit(job, is_target_empty=True)
    _note_size(job)
    job.failpoint("planned.examined")
    reason = "source and target can take part"
    if findings.notes:
        job.progress["notes"] = list(findings.notes)
        reason += f"; {'; '.join(findings.notes)}"
    job.advance(MoveState.PREPARING, reason=reason)


def require_fit(job: Job, *, is_target_empty: bool) -> Findings:
    """Examine both shards. Raises MoveRefused, naming every problem and what mends it."""
    move, topology = job.move, job.load()
    source, target = job.on(move.source), job.on(move.target)
    needs = Needs(move.source, move.target, move.soak_seconds > 0, move.copy_mode == "safe")
    with job.read(move.source), job.read(move.target), patient(target):
        findings = examine(source, target, needs, topology, move.slots, rows=is_target_empty)
    if findings.problems:
        raise MoveRefused(
            f"the move cannot be done: {'; '.join(map(str, findings.problems))}",
            epoch=topology.epoch,
            hint=f"mend that, then `shardrouter rebalance resume`, or give up with"
            f" `shardrouter move abort {move.number}`",
        )
    return findings


def examine(
    source: Connection,
    target: Connection,
    needs: Needs,
    topology: Topology,
    slots: Sequence[Slot],
    *,
    rows: bool,
) -> Findings:
    """Ask over open transactions on both primaries.

    rows: rows of the slots on the target are a problem; finding out reads its tables.
    """
    facts = shard_facts(source), shard_facts(target)
    problems = list(server_problems(needs, *facts))
    if problems and _is_same_database(*facts):
        return Findings(tuple(problems), ())
    tables = sharded_tables(topology)
    same_collation = facts[0].collation == facts[1].collation
    for table in tables:
        pair = _pair(source, target, table)
        problems += table_problems(needs, pair, has_same_collation=same_collation)
        if rows and pair.target is not None and has_rows(target, table, slots, topology.slots):
            problems.append(_leftover(needs, table))
    reference = [t.full_name for t in topology.tables if t.kind is TableKind.REFERENCE]
    keys = _foreign_keys(source, tables)
    problems += foreign_key_problems(needs.source, keys, tables, reference)
    return Findings(tuple(problems), tuple(server_notes(needs, *facts)))


def _is_same_database(source: ShardFacts, target: ShardFacts) -> bool:
    return (source.system_id, source.database) == (target.system_id, target.database)


def _pair(source: Connection, target: Connection, table: Table) -> TablePair:
    ours = read_table(source, table.schema, table.name)
    theirs = read_table(target, table.schema, table.name)
    if ours is None or theirs is None:
        return TablePair(table, ours, theirs)
    names = {"schema": table.schema, "name": table.name}
    triggers = tuple(target.execute(_TRIGGERS, names).scalars())
    return TablePair(table, ours, theirs, tuple(table_differences(source, target, table)), triggers)


def _leftover(needs: Needs, table: Table) -> Problem:
    return Problem(
        needs.target,
        f"{table.full_name} holds rows of these slots already, and no move of ours left them",
        "look at them; the guard lets only SET session_replication_role = replica delete them",
    )


def _foreign_keys(connection: Connection, tables: Sequence[Table]) -> list[ForeignKey]:
    names = {"schemas": [t.schema for t in tables], "tables": [t.name for t in tables]}
    return [
        ForeignKey(row.name, row.child, row.parent, tuple(zip(row.ours, row.theirs, strict=True)))
        for row in connection.execute(_FOREIGN_KEYS, names)
    ]


def _note_size(job: Job) -> None:
    """Note how much there is to copy. Raises LimitReached when the target's disk is too small."""
    expected, size = {}, 0
    with job.read(job.move.source) as connection, patient(connection):
        for table in job.tables():
            loads = table_loads(connection, table, job.topology.slots)
            moving = [loads[slot] for slot in job.move.slots if slot in loads]
            expected[table.full_name] = sum(load.rows for load in moving)
            size += sum(load.bytes for load in moving)
    job.progress["rows_total"], job.progress["bytes_total"] = sum(expected.values()), size
    job.note(**{EXPECTED: expected})
    with job.read(job.move.target) as connection:
        require_space(job, connection, job.progress["bytes_total"])


_TRIGGERS: Final = text(
    """
SELECT quote_ident(t.tgname)
  FROM pg_catalog.pg_trigger t
  JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = :schema AND c.relname = :name AND NOT t.tgisinternal
   AND t.tgenabled IN ('A', 'R')
   AND t.tgname !~ '^zzy_shardrouter_move_[0-9]+_pace$'
 ORDER BY 1
"""
)
_FOREIGN_KEYS: Final = text(
    """
WITH moving AS (
  SELECT c.oid FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE (n.nspname, c.relname)
      IN (SELECT * FROM unnest(CAST(:schemas AS text[]), CAST(:tables AS text[]))))
SELECT quote_ident(k.conname) AS name,
       cn.nspname || '.' || c.relname AS child, pn.nspname || '.' || p.relname AS parent,
       (SELECT array_agg(a.attname::text ORDER BY part.place)
          FROM unnest(k.conkey) WITH ORDINALITY AS part (attnum, place)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = part.attnum) AS ours,
       (SELECT array_agg(a.attname::text ORDER BY part.place)
          FROM unnest(k.confkey) WITH ORDINALITY AS part (attnum, place)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = p.oid AND a.attnum = part.attnum)
         AS theirs
  FROM pg_catalog.pg_constraint k
  JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
  JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
  JOIN pg_catalog.pg_class p ON p.oid = k.confrelid
  JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
 WHERE k.contype = 'f' AND k.conparentid = 0 AND NOT c.relispartition
   AND (k.conrelid IN (SELECT oid FROM moving) OR k.confrelid IN (SELECT oid FROM moving))
 ORDER BY 1
"""
)
