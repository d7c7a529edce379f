"""What every kind of gather does: ask all shards, ask one, and learn types and collations."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Executable, Select

from shardrouter.client.gather_ask import ShardRows, ask_columns, ask_entities
from shardrouter.client.gather_plans import GatherPlan
from shardrouter.client.gather_result import Row
from shardrouter.client.outcomes import FanOut, map_shards
from shardrouter.errors import CrossShardUnsupported
from shardrouter.routing.merge import REPORTED_SETTINGS, ColumnFacts, agree, check_settings
from shardrouter.sql import ROW_BOUND, GroupsSplit, ResultColumn, RowsSplit, read_answer
from shardrouter.topology import ShardId

T = TypeVar("T")

Connect = Callable[[ShardId], AbstractContextManager[Connection]]

FACTS_SECONDS: Final = 60.0  # a migration that changes a type or collation is seen this late


@dataclass(frozen=True, slots=True)
class GatherLimits:
    """Bounds of one gather."""

    max_rows: int = 100_000
    """Rows of all shards together that a merge may hold in memory."""


@dataclass(frozen=True, slots=True)
class Run:
    """One gather under way."""

    shards: Sequence[ShardId]
    connect: Connect
    fan_out: FanOut[Any]
    limits: GatherLimits
    clock: Callable[[], float]
    plan: GatherPlan
    values: Mapping[str, Any]
    """Values of the statement's parameters."""

    options: Mapping[str, Any]
    """Execution options of the statement."""

    def ask_all(
        self,
        statement: Select[Any],
        bound: int,
        columns: Sequence[ResultColumn] = (),
        shards: Sequence[ShardId] | None = None,
    ) -> list[ShardRows]:
        """Return the rows of each shard, at most ``bound`` of each.

        Raises ScatterFailed, and CrossShardUnsupported when they are more than a merge may hold.
        """
        values = {**self.values, ROW_BOUND: bound}

        def ask(connection: Connection) -> ShardRows:
            if self.plan.split.has_entities:
                return ask_entities(connection, statement, values, self.options)
            return ask_columns(connection, statement, values, self.options, columns)

        answers = self._each(ask, shards or self.shards)
        self._check_settings(answers)
        total = sum(len(answer.rows) for answer in answers)
        if total > self.limits.max_rows:
            raise CrossShardUnsupported(
                f"the shards sent more than {self.limits.max_rows} rows to merge",
                hint="add a WHERE or a smaller LIMIT, or raise max_rows in section [gather]",
            )
        return answers

    def ask_one(
        self,
        statement: Executable,
        values: Mapping[str, Any],
        columns: Sequence[ResultColumn] = (),
    ) -> ShardRows:
        """Let one shard finish a merge. Raises ScatterFailed."""
        given = {**self.values, **values}

        def ask(connection: Connection) -> ShardRows:
            return ask_columns(connection, statement, given, {}, columns)

        [answer] = self._each(ask, self.shards[:1])
        return answer

    def facts(self, how: RowsSplit | GroupsSplit) -> tuple[ColumnFacts, ...]:
        """Return types and collations, the same on all shards, asked at most once in a while.

        Raises CrossShardUnsupported when the shards differ, ScatterFailed.
        """
        now = self.clock()
        known = self.plan.facts(now, FACTS_SECONDS)
        if known is not None:
            return known
        question = how.question()
        values = {**self.values, ROW_BOUND: 0}

        def ask(connection: Connection) -> Row:
            return ask_columns(connection, question, values, self.options).rows[0]

        rows = self._each(ask, self.shards)
        answers = [read_answer(row) for row in rows]
        names = list(self.shards)
        check_settings({n: settings for n, (settings, _) in zip(names, answers, strict=True)})
        facts = agree({n: facts for n, (_, facts) in zip(names, answers, strict=True)})
        self.plan.learn(facts, now)
        return facts

    def _check_settings(self, answers: Sequence[ShardRows]) -> None:
        if any(answer.settings != answers[0].settings for answer in answers):
            check_settings(
                {
                    shard: dict(zip(REPORTED_SETTINGS, answer.settings, strict=True))
                    for shard, answer in zip(self.shards, answers, strict=True)
                }
            )

    def _each(self, ask: Callable[[Connection], T], shards: Sequence[ShardId]) -> list[T]:
        def call(shard: ShardId) -> T:
            with self.connect(shard) as connection:
                return ask(connection)

        report = map_shards(shards, call, self.fan_out)
        for outcome in report.failed:
            if isinstance(outcome.error, CrossShardUnsupported):
                raise outcome.error  # a refusal, found only when the rows came
        report.raise_if_failed()
        return list(report.values.values())
