"""What the benchmarks stand on: a local fleet in memory, its settings file, and bare ways in.

Each benchmark makes its own stage, so that it can run alone. The servers run without fsync: a
commit then costs the least it can, which is the hardest case for what a router adds.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from typing import Any, Final

from psycopg import sql
from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.cpus import Cpus
from shardrouter.catalog import catalog_engine, found_fleet
from shardrouter.config import PoolSettings
from shardrouter.local import LocalFleet
from shardrouter.topology import Topology, key_slot

KEYS: Final = 1000
"""Keys that a benchmark goes through in turn."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A running fleet whose topology is in its catalog."""

    fleet: LocalFleet
    topology: Topology
    settings_path: Path

    def dsn(self, shard: str = "s0") -> str:
        """Return the address of a shard's primary, as the topology has it."""
        return self.topology.shard(shard).primary.dsn

    def keys(self, shard: str = "s0", many: int = KEYS) -> list[int]:
        """Return the first int keys that live on a shard."""
        found: list[int] = []
        for key in count(1):
            if self.topology.owner(key_slot(key, self.topology.slots)).id == shard:
                found.append(key)
            if len(found) == many:
                return found
        raise AssertionError("unreachable: count never ends")

    def endless_keys(self, shard: str = "s0") -> Iterator[int]:
        """Go round the keys of a shard for ever."""
        return cycle(self.keys(shard))

    def execute(self, statements: Sequence[str], shard: str = "s0") -> None:
        """Run statements on a shard's primary."""
        with self.fleet.primary(shard).connect("app") as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def scalar(self, query: str, shard: str = "s0") -> Any:
        """Return one value from a shard's primary."""
        with self.fleet.primary(shard).connect("app") as connection:
            row = connection.execute(query.encode()).fetchone()
        return None if row is None else row[0]


@contextmanager
def open_stage(shards: int, replicas: int = 0, *, has_own_cpu: bool = True) -> Iterator[Stage]:
    """Start a fleet for the block, which runs on a CPU apart from the servers if ``has_own_cpu``.

    The threads that measure are started inside of the block.
    """
    cpus = Cpus()
    with cpus.servers_start() if has_own_cpu else nullcontext():
        fleet = LocalFleet.temporary(shards=shards, replicas=replicas)
    try:
        with (
            tempfile.TemporaryDirectory() as directory,
            cpus.program_runs() if has_own_cpu else nullcontext(),
        ):
            path = Path(directory) / "shardrouter.toml"
            topology = publish(fleet, fleet.topology(), path)
            yield Stage(fleet, topology, path)
    finally:
        fleet.destroy()


def publish(
    fleet: LocalFleet, topology: Topology, path: Path, catalog: str = "catalog"
) -> Topology:
    """Put a topology into an empty catalog database, which is made if need be, and write the
    settings file that names it.
    """
    if catalog != fleet.catalog.database:
        with fleet.catalog.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(catalog)))
    dsn = fleet.catalog.dsn(catalog)
    engine = catalog_engine(dsn)
    try:
        published = found_fleet(engine, topology, actor="benchmarks")
    finally:
        engine.dispose()
    path.write_text(f'[catalog]\ndsn = "{dsn}"\n')
    return published


@contextmanager
def bare_engine(dsn: str) -> Iterator[Engine]:
    """Open what a program without shards uses: one engine with a pool as large as a router's."""
    engine = create_engine(_url(dsn), **_POOL)
    try:
        yield engine
    finally:
        engine.dispose()


def bare_async_engine(dsn: str) -> AsyncEngine:
    """Return the same for asyncio; the caller disposes it on its loop."""
    return create_async_engine(_url(dsn), **_POOL)


def _url(dsn: str) -> Any:
    return make_url(dsn).set(drivername="postgresql+psycopg")


_SETTINGS: Final = PoolSettings()
_POOL: Final[dict[str, Any]] = {
    "pool_size": _SETTINGS.size,
    "max_overflow": 0,
    "pool_timeout": _SETTINGS.checkout_timeout_seconds,
    "pool_recycle": _SETTINGS.recycle_seconds,
    "pool_use_lifo": True,
}
