"""Load the rows through the library, each table in the way that fits it."""

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from sqlalchemy import func, select

from demo.flights import COPY_FLIGHTS, blocks
from demo.models import Base, Plane
from shardrouter import Router

T = TypeVar("T")


BLOCK_LINES = 2_000  # about 150 kB of text: a bar that moves, few calls


def load_reference(router: Router, rows: Sequence[Base]) -> None:
    """Write reference rows on every shard, in one transaction."""
    with router.transaction(reference=True) as tx:
        tx.reference.add_all(rows)


def load_planes(router: Router, planes: Sequence[Plane]) -> None:
    """Write planes through sessions, one a shard."""
    for shard, group in _by_shard(router, [(plane.tailnum, plane) for plane in planes]).items():
        with router.session(shard=shard) as session:
            session.add_all(group)
            session.commit()


def load_flights(
    router: Router, lines: Sequence[tuple[str, str]], advance: Callable[[int], None]
) -> None:
    """Stream the lines of each shard to it by COPY, all shards at the same time."""
    groups = _by_shard(router, lines)
    stop = threading.Event()

    def copy(shard: str) -> None:
        with (
            router.connection(shard=shard) as connection,
            connection.cursor() as cursor,
            cursor.copy(COPY_FLIGHTS) as stream,
        ):
            for count, block in blocks(groups[shard], BLOCK_LINES):
                if stop.is_set():
                    raise InterruptedError("the load was interrupted")
                stream.write(block)
                advance(count)

    with ThreadPoolExecutor(len(groups)) as pool:
        try:
            # Each thread gets a copy of the context, so that its commit joins our token.
            tasks = [pool.submit(copy_context().run, copy, shard) for shard in groups]
            for task in tasks:
                task.result()
        finally:
            stop.set()


def shard_counts(router: Router, model: type[Base]) -> Mapping[str, int]:
    """Return how many rows of a table each shard's primary holds."""
    counts: dict[str, int] = {}
    for shard in router.topology.shards:
        with router.session(shard=shard.id, read="primary") as session:
            counts[shard.id] = session.scalar(select(func.count()).select_from(model)) or 0
    return counts


def _by_shard(router: Router, rows: Sequence[tuple[str, T]]) -> Mapping[str, list[T]]:
    homes: dict[str, str] = {}
    groups: dict[str, list[T]] = defaultdict(list)
    for tailnum, row in rows:
        home = homes.get(tailnum)
        if home is None:
            home = homes[tailnum] = router.shard_of(tailnum).id
        groups[home].append(row)
    return groups
