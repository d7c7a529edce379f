"""A point select over plain psycopg: ``router.connection`` against psycopg's own pool.

Both on the same primary, psycopg's defaults, one connection in use whose statement is prepared on
the server after five runs; the bare pool keeps one connection open, so that both sides talk to one
warm backend. The bound is on the same promise: a unit that may write, whose commit is learned.

Hypothesis: three round trips on both sides (BEGIN, SELECT, COMMIT), so that a few microseconds of
routing are lost in them.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final

from psycopg_pool import AsyncConnectionPool, ConnectionPool

from benchmarks.library.stage import Stage, open_stage
from benchmarks.measure import Contender, Rounds, check, each_await, each_call, run_rounds
from benchmarks.rows import Row
from benchmarks.suite import Effort
from shardrouter import AsyncRouter, Router
from shardrouter.config import PoolSettings

BOUND: Final = 1.05
ROUNDS: Final = 120
CALLS: Final = 50
MICROSECONDS: Final = 1e6
QUERY: Final = "SELECT id, name FROM users WHERE id = %s"
POOL_SIZE: Final = PoolSettings().size
MAKE_USERS: Final = [
    "CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL)",
    "INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, 20000) AS i",
    "ANALYZE users",
]


def run(effort: Effort) -> list[Row]:
    """Measure synchronous code, for writing and for reading units, then asyncio."""
    with open_stage(shards=2) as stage:
        stage.execute(MAKE_USERS)
        return [*_sync_rows(stage, effort), *_async_rows(stage, effort)]


def _sync_rows(stage: Stage, effort: Effort) -> list[Row]:
    keys = stage.endless_keys()
    with (
        Router.from_config(stage.settings_path) as router,
        ConnectionPool(stage.dsn(), min_size=1, max_size=POOL_SIZE, open=True) as pool,
    ):

        def through_router(**how: Any) -> Callable[[], None]:
            def call() -> None:
                key = next(keys)
                with router.connection(key, **how) as connection:
                    row = connection.execute(QUERY, (key,)).fetchone()
                _check(key, row)

            return call

        def bare() -> None:
            key = next(keys)
            with pool.connection() as connection:
                row = connection.execute(QUERY, (key,)).fetchone()
            _check(key, row)

        contenders = [
            Contender("router", each_call(through_router())),
            Contender("router read", each_call(through_router(read="primary"))),
            Contender("bare", each_call(bare)),
        ]
        rounds = run_rounds(contenders, effort.rounds(ROUNDS), CALLS, effort.progress)
    return _rows("point select", rounds, BOUND)


def _async_rows(stage: Stage, effort: Effort) -> list[Row]:
    with asyncio.Runner() as runner:
        router, pool = runner.run(_open_async(stage))
        contenders = _async_contenders(runner, router, pool, stage.endless_keys())
        try:
            rounds = run_rounds(contenders, effort.rounds(ROUNDS), CALLS, effort.progress)
        finally:
            runner.run(router.close())
            runner.run(pool.close())
    return _rows("async point select", rounds, None)


async def _open_async(stage: Stage) -> tuple[AsyncRouter, AsyncConnectionPool[Any]]:
    pool = AsyncConnectionPool[Any](stage.dsn(), min_size=1, max_size=POOL_SIZE, open=False)
    await pool.open(wait=True)
    return AsyncRouter.from_config(stage.settings_path), pool


def _async_contenders(
    runner: asyncio.Runner,
    router: AsyncRouter,
    pool: AsyncConnectionPool[Any],
    keys: Iterator[int],
) -> list[Contender]:
    async def through_router() -> None:
        key = next(keys)
        async with router.connection(key) as connection:
            row = await (await connection.execute(QUERY, (key,))).fetchone()
        _check(key, row)

    async def bare() -> None:
        key = next(keys)
        async with pool.connection() as connection:
            row = await (await connection.execute(QUERY, (key,))).fetchone()
        _check(key, row)

    return [
        Contender("router", each_await(runner, through_router)),
        Contender("bare", each_await(runner, bare)),
    ]


def _rows(what: str, rounds: Rounds, bound: float | None) -> list[Row]:
    rows = [Row.of(f"{what} / bare psycopg", "x", rounds.ratio("router", "bare"), bound)]
    if "router read" in rounds.seconds:
        name = f'{what}, read="primary" / bare psycopg'
        rows.append(Row.of(name, "x", rounds.ratio("router read", "bare")))
    rows.append(Row.of(what, "us", rounds.of("router", MICROSECONDS)))
    rows.append(Row.of(f"{what}, bare psycopg", "us", rounds.of("bare", MICROSECONDS)))
    return rows


def _check(key: int, row: Any) -> None:
    check(row == (key, f"user {key}"), f"user {key} is {row!r}")
