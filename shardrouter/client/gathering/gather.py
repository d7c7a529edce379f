"""Answer one SELECT from all shards, exactly as one Postgres that holds all rows would.

The statement is split (``sql``), asked of all shards side by side, and merged (``routing``). What
only a Postgres can order or add exactly goes back to one of the shards as arrays.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import BindParameter, Result, Select

from shardrouter.client.gathering.plans import GatherPlans
from shardrouter.client.gathering.result import make_result
from shardrouter.client.gathering.rows import gather_rows
from shardrouter.client.gathering.run import GatherLimits, Run
from shardrouter.client.gathering.together import Connect
from shardrouter.client.outcomes import FanOut
from shardrouter.errors import CrossShardUnsupported, UnknownShard
from shardrouter.postgres import WaitReady
from shardrouter.routing.merge import column_name
from shardrouter.sql import ROW_BOUND, GroupsSplit, OneShardSplit, OwnRows, RowsSplit
from shardrouter.topology import ShardId

_STREAMING: Final = frozenset({"yield_per", "stream_results", "max_row_buffer"})
"""Execution options that ask for a stream; a merge needs all rows."""


def gather(
    statement: Select[Any],
    shards: Sequence[ShardId],
    connect: Connect,
    fan_out: FanOut[Any],
    wait_ready: WaitReady,
    *,
    limits: GatherLimits,
    plans: GatherPlans,
    own: OwnRows | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Result[Any]:
    """Return the rows of a SELECT over all shards.

    ``connect`` lends a connection of a shard for reading statements; ``fan_out`` runs calls side
    by side and ``wait_ready`` waits for a socket; ``plans`` keeps what was worked out for a
    statement; ``own`` tells, while slots move, which rows of a shard are its own. Instances of
    mapped classes come back detached, with their columns loaded.

    Raises CrossShardUnsupported when the answer would not be exact or is larger than
    ``limits.max_rows``, ScatterFailed when a shard did not answer.
    """
    given = statement.get_execution_options() if isinstance(statement, Select) else {}
    options = {name: value for name, value in given.items() if name not in _STREAMING}
    plan, values = plans.plan(statement, options, own)
    offline = plans.offline
    run = Run(
        shards, connect, fan_out, wait_ready, limits, clock, offline, plan, values, options, own
    )
    limit = _count(plan.split.limit, values, "LIMIT")
    offset = _count(plan.split.offset, values, "OFFSET") or 0
    match plan.split.how:
        case OneShardSplit() as one:
            return _gather_one(run, one)
        case RowsSplit() as rows:
            return gather_rows(run, rows, offset, limit)
        case GroupsSplit() as groups:
            return _gather_groups(run, groups, offset, limit)


def _gather_one(run: Run, how: OneShardSplit) -> Result[Any]:
    shard = run.shards[0] if how.shard is None else ShardId(how.shard)
    if shard not in run.shards:
        raise UnknownShard(
            f"a local table is on shard {shard!r}, which is not in the topology",
            hint=f"known shards: {', '.join(run.shards)}",
        )
    bound = run.limits.max_rows + 1
    answers = run.ask_all(how.statement, bound, [shard])
    every = range(len(answers[0].rows))
    return run.result(answers, every, how.statement, {ROW_BOUND: bound}, hidden=0)


def _gather_groups(run: Run, how: GroupsSplit, offset: int, limit: int | None) -> Result[Any]:
    facts = run.facts(how)
    scatter = run.plan.groups(how, facts)
    most = run.limits.max_rows + 1
    bound = min(how.row_bound(offset, limit, most), most)
    answers = run.ask_all(scatter.statement, bound)
    columns: list[list[object]] = [[] for _ in facts]
    for answer in answers:
        for column, values in zip(columns, zip(*answer.rows, strict=True), strict=False):
            column.extend(values)
    parts = {column_name(i): values for i, values in enumerate(columns)}
    finished = run.ask_one(scatter.finish, parts)
    return make_result(run.plan.split.result, finished.rows, finished.oids, finished.dialect)


def _count(bind: BindParameter[Any] | None, values: Mapping[str, Any], clause: str) -> int | None:
    if bind is None:
        return None
    value = values.get(bind.key, bind.effective_value)
    if value is None or (isinstance(value, int) and value >= 0):
        return value
    raise CrossShardUnsupported(
        f"{clause} is {value!r}", hint=f"give {clause} a whole number that is not negative"
    )
