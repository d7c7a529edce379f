"""What every kind of gather does: ask all shards, ask one, and learn types and collations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from sqlalchemy import Connection, Executable, Select

from shardrouter.client.gather_ask import ShardRows, ask_columns, ask_entities
from shardrouter.client.gather_plans import GatherPlan
from shardrouter.client.gather_together import Connect, ask_together, batches
from shardrouter.client.outcomes import FanOut, ShardReport, map_shards
from shardrouter.errors import CrossShardUnsupported
from shardrouter.postgres import WaitReady
from shardrouter.routing.merge import REPORTED_SETTINGS, ColumnFacts, agree, check_settings
from shardrouter.sql import ROW_BOUND, GroupsSplit, RowsSplit, read_answer
from shardrouter.topology import ShardId

FACTS_SECONDS: Final = 60.0  # a migration that changes a type or collation is seen this late


@dataclass(frozen=True, slots=True)
class GatherLimits:
    """Bounds of one gather."""

    max_rows: int = 100_000
    """Rows of all shards together that a merge may hold in memory."""

    concurrency: int = 16
    """Shards asked side by side."""


@dataclass(frozen=True, slots=True)
class Run:
    """One gather under way."""

    shards: Sequence[ShardId]
    connect: Connect
    fan_out: FanOut[Any]
    wait_ready: WaitReady
    limits: GatherLimits
    clock: Callable[[], float]
    plan: GatherPlan
    values: Mapping[str, Any]
    """Values of the statement's parameters."""

    options: Mapping[str, Any]
    """Execution options of the statement."""

    def ask_all(
        self, statement: Select[Any], bound: int, shards: Sequence[ShardId] | None = None
    ) -> list[ShardRows]:
        """Return the rows of each shard, at most ``bound`` of each.

        Raises ScatterFailed, and CrossShardUnsupported when they are more than a merge may hold.
        """
        values = {ROW_BOUND: bound}
        if self.plan.split.has_entities:
            answers = self._ask_entities(statement, values, shards or self.shards)
        else:
            answers = self._ask(statement, values, shards or self.shards)
        if any(answer.settings != answers[0].settings for answer in answers):
            self._compare_settings(answers)
        total = sum(len(answer.rows) for answer in answers)
        if total > self.limits.max_rows:
            raise CrossShardUnsupported(
                f"the shards sent more than {self.limits.max_rows} rows to merge",
                hint="add a WHERE or a smaller LIMIT, or raise max_rows in section [gather]",
            )
        return answers

    def ask_one(self, statement: Executable, values: Mapping[str, Any]) -> ShardRows:
        """Let one shard finish a merge. Raises ScatterFailed."""
        [answer] = self._ask(statement, values, self.shards[:1])
        return answer

    def facts(self, how: RowsSplit | GroupsSplit) -> tuple[ColumnFacts, ...]:
        """Return types and collations, the same on all shards, asked at most once in a while.

        Raises CrossShardUnsupported when the shards differ, ScatterFailed.
        """
        now = self.clock()
        known = self.plan.facts(now, FACTS_SECONDS)
        if known is not None:
            return known
        asked = self._ask(self.plan.question(how), {ROW_BOUND: 0}, self.shards)
        answers = [read_answer(answer.rows[0]) for answer in asked]
        names = list(self.shards)
        check_settings({n: settings for n, (settings, _) in zip(names, answers, strict=True)})
        facts = agree({n: facts for n, (_, facts) in zip(names, answers, strict=True)})
        self.plan.learn(facts, now)
        return facts

    def _ask(
        self, statement: Any, values: Mapping[str, Any], shards: Sequence[ShardId]
    ) -> list[ShardRows]:
        given = {**self.values, **values}
        if self.options:

            def ask(connection: Connection) -> ShardRows:
                return ask_columns(connection, statement, given, self.options)

            return self._by_thread(ask, shards)
        text, parameters = self.plan.query(statement).bind(given)
        reports = [
            ask_together(part, text, parameters, self.connect, self.fan_out, self.wait_ready)
            for part in batches(shards, self.limits.concurrency)
        ]
        return _answers(ShardReport(tuple(chain.from_iterable(reports))))

    def _ask_entities(
        self, statement: Select[Any], values: Mapping[str, Any], shards: Sequence[ShardId]
    ) -> list[ShardRows]:
        given = {**self.values, **values}

        def ask(connection: Connection) -> ShardRows:
            return ask_entities(connection, statement, given, self.options)

        return self._by_thread(ask, shards)

    def _by_thread(
        self, ask: Callable[[Connection], ShardRows], shards: Sequence[ShardId]
    ) -> list[ShardRows]:
        def call(shard: ShardId) -> ShardRows:
            with self.connect(shard) as connection:
                return ask(connection)

        return _answers(map_shards(shards, call, self.fan_out))

    def _compare_settings(self, answers: Sequence[ShardRows]) -> None:
        check_settings(
            {
                shard: dict(zip(REPORTED_SETTINGS, answer.settings, strict=True))
                for shard, answer in zip(self.shards, answers, strict=True)
            }
        )


def _answers(report: ShardReport[ShardRows]) -> list[ShardRows]:
    for outcome in report.failed:
        if isinstance(outcome.error, CrossShardUnsupported):
            raise outcome.error  # a refusal, found only when the rows came
    report.raise_if_failed()
    return list(report.values.values())
