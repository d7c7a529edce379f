"""What every kind of gather does: ask all shards, ask one, and learn types and collations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from sqlalchemy import Engine, Executable, Result, Select

from shardrouter.client.gathering.ask import ShardRows, ask_columns, ask_entities
from shardrouter.client.gathering.instances import load_instances
from shardrouter.client.gathering.plans import GatherPlan
from shardrouter.client.gathering.result import Row, make_result
from shardrouter.client.gathering.together import Connect, Question, ask_together, batches
from shardrouter.client.outcomes import FanOut, ShardReport, map_shards
from shardrouter.errors import CrossShardUnsupported
from shardrouter.postgres import WaitReady
from shardrouter.routing.merge import REPORTED_SETTINGS, ColumnFacts, agree, check_settings
from shardrouter.sql import OWNED, ROW_BOUND, GroupsSplit, OwnRows, Query, RowsSplit, read_answer
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
    offline: Engine
    """Where instances are made of rows that were fetched."""

    plan: GatherPlan
    values: Mapping[str, Any]
    """Values of the statement's parameters."""

    options: Mapping[str, Any]
    """Execution options of the statement."""

    own: OwnRows | None = None
    """While slots move: which rows of a shard are its own."""

    def ask_all(
        self, statement: Select[Any], bound: int, shards: Sequence[ShardId] | None = None
    ) -> list[ShardRows]:
        """Return the rows of each shard, at most ``bound`` of each.

        Raises ScatterFailed, and CrossShardUnsupported when they are more than a merge may hold.
        """
        answers = self._ask(statement, {ROW_BOUND: bound}, shards or self.shards, is_answer=True)
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

    def result(
        self,
        answers: Sequence[ShardRows],
        chosen: Sequence[int],
        statement: Select[Any],
        values: Mapping[str, Any],
        hidden: int,
    ) -> Result[Any]:
        """Return the chosen rows, by their position in the answers, without the hidden columns."""
        first, split = answers[0], self.plan.split
        every = list(chain.from_iterable(answer.rows for answer in answers))
        rows, oids = [every[position] for position in chosen], first.oids
        if split.has_entities and first.oids:
            given = {**self.values, **values, OWNED: None}  # they were left out by the shards
            rows, oids = self._instances(rows, answers, chosen, statement, given), ()
        shown = [row[:-hidden] for row in rows] if hidden else rows
        return make_result(split.result, shown, oids, first.dialect)

    def _instances(
        self,
        rows: Sequence[Row],
        answers: Sequence[ShardRows],
        chosen: Sequence[int],
        statement: Select[Any],
        values: Mapping[str, Any],
    ) -> list[Row]:
        """Return the chosen rows as instances."""
        if self.plan.split.is_one_table:
            made = load_instances(self.offline, statement, values, rows, answers[0].oids)
            if len({id(row[0]) for row in made}) == len(made):
                return made
        # Two shards may use the same primary key, so each shard's rows get a session of their own.
        loaded: dict[int, Row] = {}
        start = 0
        for answer in answers:
            end = start + len(answer.rows)
            own = [position for position in chosen if start <= position < end]
            raw = [answer.rows[position - start] for position in own]
            made = load_instances(self.offline, statement, values, raw, answer.oids)
            loaded.update(zip(own, made, strict=True))
            start = end
        return [loaded[position] for position in chosen]

    def _ask(
        self,
        statement: Any,
        values: Mapping[str, Any],
        shards: Sequence[ShardId],
        *,
        is_answer: bool = False,
    ) -> list[ShardRows]:
        given = {**self.values, **values}
        if not self.options:
            query, how = self.plan.query(statement), (self.connect, self.fan_out, self.wait_ready)
            reports = [
                ask_together(part, self._bind(query, given, part), *how)
                for part in batches(shards, self.limits.concurrency)
            ]
            return _answers(ShardReport(tuple(chain.from_iterable(reports))))
        ask = ask_entities if is_answer and self.plan.split.has_entities else ask_columns

        def call(shard: ShardId) -> ShardRows:
            with self.connect(shard) as connection:
                return ask(connection, statement, self._for_shard(given, shard), self.options)

        return _answers(map_shards(shards, call, self.fan_out))

    def _bind(
        self, query: Query, given: Mapping[str, Any], shards: Sequence[ShardId]
    ) -> Sequence[Question]:
        """Return the text and the parameters for each shard."""
        if self.own is None:
            return [query.bind(given)] * len(shards)
        return [query.bind(self._for_shard(given, shard)) for shard in shards]

    def _for_shard(self, given: Mapping[str, Any], shard: ShardId) -> Mapping[str, Any]:
        return given if self.own is None else {**given, OWNED: self.own.bits(shard)}

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
