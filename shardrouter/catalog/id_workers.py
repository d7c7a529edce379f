"""Lease worker numbers for ids, each with a window of time by the catalog's clock.

Invariant: the windows of one number never overlap, whoever owns them. A number is free only when
its window has ended by the catalog's clock; should that clock step back, numbers stay taken
longer.
"""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, Engine, Row, func, literal, null, select, update
from sqlalchemy import cast as sql_cast

from shardrouter.catalog.connect import answering
from shardrouter.catalog.transaction_schema import id_workers
from shardrouter.errors import IdError
from shardrouter.topology.id_layout import EPOCH, WORKERS

_w = id_workers.c


def _big(value: int) -> Any:
    return literal(value, BigInteger)


_NOW_MS: Final = sql_cast(
    func.floor(func.extract("epoch", func.statement_timestamp()) * _big(1000)), BigInteger
) - _big(int(EPOCH.timestamp()) * 1000)
"""One reading a statement: the end that had passed in WHERE has passed in RETURNING."""


@dataclass(frozen=True, slots=True)
class WorkerLease:
    """A worker number and the window its owner may make ids in. Milliseconds since 2025."""

    number: int
    owner: UUID
    start_ms: int
    end_ms: int
    """The first millisecond that is not ours."""

    catalog_ms: int
    """What the catalog's clock showed."""


class IdWorkers:
    """Hands out worker numbers. Every method raises CatalogUnavailable."""

    def __init__(self, engine: Engine, lease_seconds: float, horizon_seconds: float) -> None:
        self._engine = engine
        self._lease_ms = round(lease_seconds * 1000)
        self._horizon_ms = max(self._lease_ms, round(horizon_seconds * 1000))

    def acquire(self, owner: UUID, origin: str, past_ms: int) -> WorkerLease:
        """Lease the number that has been free for longest.

        past_ms: the window should reach beyond this, as far as the horizon allows.
        Raises IdError when all numbers are taken.
        """
        free = (
            select(_w.number)
            .where(_w.window_end_ms <= _NOW_MS)
            .order_by(_w.window_end_ms, _w.number)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        statement = (
            update(id_workers)
            .where(_w.number == free)
            .values(owner=owner, origin=origin, window_end_ms=self._end_ms(past_ms))
            .returning(_w.number, _w.window_end_ms, _NOW_MS.label("now_ms"))
        )
        with answering(), self._engine.begin() as connection:
            row = connection.execute(statement).one_or_none()
            if row is None:
                raise self._exhausted()
            # One clock reading decides: the window starts where it ended for the last owner or
            # later, since that end had passed before this statement read the clock again.
            return WorkerLease(row.number, owner, row.now_ms, row.window_end_ms, row.now_ms)

    def extend(self, lease: WorkerLease, past_ms: int) -> WorkerLease | None:
        """Move the end of the window on; None when the number went to another owner.

        The window never shrinks, and never ends further ahead than the horizon.
        """
        statement = (
            update(id_workers)
            .where(_w.number == lease.number, _w.owner == lease.owner)
            .values(window_end_ms=func.greatest(_w.window_end_ms, self._end_ms(past_ms)))
            .returning(_w.number, _w.window_end_ms, _NOW_MS.label("now_ms"))
        )
        with answering(), self._engine.begin() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else _extended(lease, row)

    def release(self, lease: WorkerLease, used_end_ms: int) -> None:
        """Give the number back: free as soon as the catalog's clock has passed ``used_end_ms``."""
        statement = (
            update(id_workers)
            .where(_w.number == lease.number, _w.owner == lease.owner)
            .values(
                owner=null(),
                origin=null(),
                window_end_ms=func.least(
                    _w.window_end_ms, func.greatest(_big(used_end_ms), _big(lease.start_ms))
                ),
            )
        )
        with answering(), self._engine.begin() as connection:
            connection.execute(statement)

    def _end_ms(self, past_ms: int) -> Any:
        wanted = func.greatest(_NOW_MS, _big(past_ms)) + _big(self._lease_ms)
        return func.least(wanted, _NOW_MS + _big(self._horizon_ms))

    def _exhausted(self) -> IdError:
        return IdError(
            f"all {WORKERS} worker numbers for ids are in use",
            hint="a number is free again when its process ends, or at most ids.horizon_seconds "
            "after it crashed: run fewer processes that make ids, or wait",
        )


def _extended(lease: WorkerLease, row: Row[Any]) -> WorkerLease:
    return WorkerLease(lease.number, lease.owner, lease.start_ms, row.window_end_ms, row.now_ms)
