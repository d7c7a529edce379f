"""A unit of work: session, one INSERT of a mapped object, commit.

Against a bare SQLAlchemy Session on one engine to the same primary with an equal pool. The bound
is on equal tables without a guard: what the guard costs is the server's and comes on top for both.

Hypothesis: nearly all of it is SQLAlchemy and the server. A router adds the key path, one look at
the idle connection, the check of each flushed row, and the question where the commit landed.
"""

import asyncio
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

from sqlalchemy import BigInteger, Text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from benchmarks.library.stage import Stage, bare_async_engine, bare_engine, open_stage
from benchmarks.measure import Contender, Rounds, check, each_await, each_call, run_rounds
from benchmarks.rows import Row
from benchmarks.suite import Effort
from shardrouter import AsyncRouter, Router, sharded
from shardrouter.postgres import direct_connection, install_guards
from shardrouter.topology import KeyColumn, KeyType, ShardId, Table, TableKind

BOUND: Final = 1.10
ROUNDS: Final = 80
CALLS: Final = 25
MICROSECONDS: Final = 1e6
GUARDED: Final = Table("guarded_orders", TableKind.SHARDED, (KeyColumn("user_id", KeyType.INT8),))
CREATE_TABLES: Final = [
    f"CREATE TABLE {name} (id bigint, user_id bigint, note text, PRIMARY KEY (user_id, id))"
    for name in ("plain_orders", GUARDED.name)
]


class Base(DeclarativeBase):
    pass


class Order:
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    note: Mapped[str] = mapped_column(Text)


@sharded(by="user_id")
class PlainOrder(Order, Base):
    __tablename__ = "plain_orders"


@sharded(by="user_id")
class GuardedOrder(Order, Base):
    __tablename__ = GUARDED.name


TABLES: Final[dict[str, type[Any]]] = {"plain": PlainOrder, "guarded": GuardedOrder}


def run(effort: Effort) -> list[Row]:
    """Measure both tables through both doors, first synchronous code, then asyncio."""
    with open_stage(shards=2) as stage:
        _make_tables(stage)
        ids = count(1)
        rows = [*_sync_rows(stage, effort, ids), *_async_rows(stage, effort, ids)]
        _check_rows(stage, next(ids) - 1)
    return rows


def _make_tables(stage: Stage) -> None:
    stage.execute(CREATE_TABLES)
    shard = stage.topology.shard("s0")
    with direct_connection(shard, shard.primary, 3.0, "benchmarks") as connection:
        install_guards(connection, stage.topology, ShardId("s0"), [GUARDED])


def _sync_rows(stage: Stage, effort: Effort, ids: Iterator[int]) -> list[Row]:
    keys = stage.endless_keys()
    with Router.from_config(stage.settings_path) as router, bare_engine(stage.dsn()) as engine:

        def through_router(model: type[Any]) -> Callable[[], None]:
            def call() -> None:
                key = next(keys)
                with router.session(key=key) as session:
                    session.add(model(id=next(ids), user_id=key, note="a note"))
                    session.commit()

            return call

        def bare(model: type[Any]) -> Callable[[], None]:
            def call() -> None:
                key = next(keys)
                with Session(engine) as session:
                    session.add(model(id=next(ids), user_id=key, note="a note"))
                    session.commit()

            return call

        contenders = [
            Contender(f"{door} {table}", each_call(make(model)))
            for table, model in TABLES.items()
            for door, make in (("router", through_router), ("bare", bare))
        ]
        rounds = run_rounds(contenders, effort.rounds(ROUNDS), CALLS, effort.progress)
    return _rows("unit of work", rounds, BOUND)


def _async_rows(stage: Stage, effort: Effort, ids: Iterator[int]) -> list[Row]:
    keys = stage.endless_keys()
    with asyncio.Runner() as runner:
        router, engine = runner.run(_open_async(stage))

        def through_router(model: type[Any]) -> Callable[[], Any]:
            async def call() -> None:
                key = next(keys)
                async with router.session(key=key) as session:
                    session.add(model(id=next(ids), user_id=key, note="a note"))
                    await session.commit()

            return call

        def bare(model: type[Any]) -> Callable[[], Any]:
            async def call() -> None:
                key = next(keys)
                async with AsyncSession(engine, expire_on_commit=False) as session:
                    session.add(model(id=next(ids), user_id=key, note="a note"))
                    await session.commit()

            return call

        contenders = [
            Contender("router plain", each_await(runner, through_router(PlainOrder))),
            Contender("bare plain", each_await(runner, bare(PlainOrder))),
        ]
        try:
            rounds = run_rounds(contenders, effort.rounds(ROUNDS), CALLS, effort.progress)
        finally:
            runner.run(router.close())
            runner.run(engine.dispose())
    return _rows("async unit of work", rounds, None)


async def _open_async(stage: Stage) -> tuple[AsyncRouter, AsyncEngine]:
    return AsyncRouter.from_config(stage.settings_path), bare_async_engine(stage.dsn())


def _rows(what: str, rounds: Rounds, bound: float | None) -> list[Row]:
    name = f"{what} / bare session"
    rows = [Row.of(name, "x", rounds.ratio("router plain", "bare plain"), bound)]
    if "router guarded" in rounds.seconds:
        both = rounds.ratio("router guarded", "bare guarded")
        rows.append(Row.of(f"{name}, guarded table for both", "x", both))
        one = rounds.ratio("router guarded", "bare plain")
        rows.append(Row.of(f"{name}, guarded table for the router only", "x", one))
    rows.append(Row.of(what, "us", rounds.of("router plain", MICROSECONDS)))
    rows.append(Row.of(f"{what}, bare session", "us", rounds.of("bare plain", MICROSECONDS)))
    return rows


def _check_rows(stage: Stage, made: int) -> None:
    """Every row that was committed is there, on the shard that owns it."""
    found = stage.scalar(
        "SELECT (SELECT count(*) FROM plain_orders) + count(*) FROM guarded_orders"
    )
    check(found == made, f"{made} rows were committed and {found} are there")
