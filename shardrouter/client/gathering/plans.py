"""Plans of gathered statements, kept by the statement's structure, and what shards told of it."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import BindParameter, ClauseElement, Select, TextClause, text

from shardrouter.client.gathering.instances import offline_engine
from shardrouter.routing.merge import ColumnFacts, column_name, order_sql
from shardrouter.sql import (
    GroupsScatter,
    GroupsSplit,
    OwnRows,
    Query,
    RowsScatter,
    RowsSplit,
    Split,
    cache_key,
    without_options,
)
from shardrouter.sql.split import split as split_statement

MAX_QUERIES: Final = 4  # of one plan: question, rows or parts, order, finish
MAX_PLANS: Final = 500  # as many as SQLAlchemy keeps compiled statements of an engine


class GatherPlan:
    """How one statement is answered, for any values of its parameters."""

    def __init__(self, split: Split, bind_keys: Sequence[str]) -> None:
        self.split = split
        self._bind_keys = bind_keys
        self._facts: tuple[float, tuple[ColumnFacts, ...]] | None = None
        self._rows: dict[tuple[bool, object], RowsScatter] = {}
        self._groups: tuple[object, GroupsScatter] | None = None
        self._order: tuple[object, TextClause] | None = None
        self._queries: tuple[tuple[ClauseElement, Query], ...] = ()
        self._question: Select[Any] | None = None
        self.must_ask = False
        """The declared types turned out not to be those of the server."""

    def values(self, binds: Sequence[BindParameter[Any]]) -> dict[str, Any]:
        """Return the values of a statement, by the names of this plan's parameters."""
        if not self.split.is_reusable:
            return {}
        return {
            key: bind.effective_value
            for key, bind in zip(self._bind_keys, binds, strict=True)
            if not bind.required
        }

    def facts(self, now: float, seconds: float) -> tuple[ColumnFacts, ...] | None:
        """Return what the shards told, unless it is older than ``seconds``."""
        if self._facts is None or self._facts[0] + seconds < now:
            return None
        return self._facts[1]

    def learn(self, facts: tuple[ColumnFacts, ...], now: float) -> None:
        """Keep what the shards told."""
        self._facts = (now, facts)

    def forget(self) -> None:
        """Drop what the shards told: they do not act by it."""
        self._facts = None

    def rows(
        self, how: RowsSplit, facts: tuple[ColumnFacts, ...] | None, *, as_text: bool
    ) -> RowsScatter:
        """Return what to send for rows, made once."""
        key = (as_text, facts)
        if key not in self._rows:
            self._rows = {key: how.scatter(facts, as_text=as_text)}
        return self._rows[key]

    def groups(self, how: GroupsSplit, facts: tuple[ColumnFacts, ...]) -> GroupsScatter:
        """Return what to send for groups, made once."""
        if self._groups is None or self._groups[0] != facts:
            self._groups = (facts, how.scatter(facts))
        return self._groups[1]

    def order(self, scatter: RowsScatter, facts: Sequence[ColumnFacts]) -> TextClause:
        """Return the statement with which a Postgres orders the keys, made once."""
        if self._order is None or self._order[0] is not scatter:
            sql = order_sql(facts, scatter.keys, lambda i: f":{column_name(i)}")
            self._order = (scatter, text(sql))
        return self._order[1]

    def question(self, how: RowsSplit | GroupsSplit) -> Select[Any]:
        """Return the question about types and collations, made once."""
        if self._question is None:
            self._question = how.question()
        return self._question

    def query(self, statement: ClauseElement) -> Query:
        """Return a statement of this plan as SQL text, compiled once."""
        for known, query in self._queries:
            if known is statement:
                return query
        made = Query(statement)
        self._queries = (*self._queries[-MAX_QUERIES + 1 :], (statement, made))
        return made


class GatherPlans:
    """A bounded store of plans; the one not used for longest goes first. Thread-safe."""

    def __init__(self, size: int = MAX_PLANS) -> None:
        self._size = size
        self._plans: OrderedDict[object, GatherPlan] = OrderedDict()
        self._lock = threading.Lock()
        self.offline = offline_engine()
        """Keeps what SQLAlchemy compiles to make instances."""

    def __len__(self) -> int:
        return len(self._plans)

    def plan(
        self, statement: Any, options: Mapping[str, Any], own: OwnRows | None = None
    ) -> tuple[GatherPlan, Mapping[str, Any]]:
        """Return the plan of a statement and its values; with ``own``, one for moving slots.

        Raises CrossShardUnsupported, and SQLAlchemy's errors on statements it cannot compile.
        """
        structure = cache_key(statement) if isinstance(statement, Select) else None
        schemas = options.get("schema_translate_map") or {}
        if structure is None:
            return GatherPlan(split_statement(statement, (), own, schemas), ()), {}
        tables = None if own is None else own.topology.tables
        key = (structure.key, tuple(schemas.items()), tables)
        with self._lock:
            plan = self._plans.get(key)
            if plan is not None:
                self._plans.move_to_end(key)
        if plan is None:
            bind_keys = [bind.key for bind in structure.bindparams]
            split = split_statement(without_options(statement), bind_keys, own, schemas)
            plan = self._keep(key, GatherPlan(split, bind_keys))
        return plan, plan.values(structure.bindparams)

    def _keep(self, key: object, plan: GatherPlan) -> GatherPlan:
        if plan.split.is_reusable:
            with self._lock:
                self._plans[key] = plan
                if len(self._plans) > self._size:
                    self._plans.popitem(last=False)
        return plan
