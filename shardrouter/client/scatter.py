"""What a router does on all shards at once: gather a query, run a function."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Result, Select

from shardrouter.client.gather import gather
from shardrouter.client.gather_plans import GatherPlans
from shardrouter.client.gather_run import GatherLimits
from shardrouter.client.outcomes import ShardReport, map_shards
from shardrouter.client.pin import check_pin
from shardrouter.client.runtime import Runtime
from shardrouter.client.unit import Checkouts, ReadChoice, UnitOfWork
from shardrouter.config import GatherSettings
from shardrouter.topology import ShardId, Topology

T = TypeVar("T")


class ScatterCore(Checkouts, Protocol):
    """The routing core, as it is seen from here."""

    runtime: Runtime

    @property
    def topology(self) -> Topology:
        """The current topology. Raises LeaseExpired, RouterClosed."""

    def shard_connection(
        self, shard_id: ShardId, read: ReadChoice | None
    ) -> AbstractContextManager[Connection]:
        """Check out a connection of the shard for the block."""

    def fan_out(self, calls: list[Callable[[], T]]) -> list[T | Exception]:
        """Run the calls side by side."""


class Scatter:
    """Queries and functions over all shards of one router."""

    def __init__(self, core: ScatterCore, settings: GatherSettings) -> None:
        self._core = core
        self._limits = GatherLimits(settings.max_rows, settings.concurrency)
        self._plans = GatherPlans()

    def gather(self, statement: Select[Any], read: ReadChoice) -> Result[Any]:
        """Return the rows of a SELECT over all shards; see client.gather."""
        return gather(
            statement,
            self._all_shards(),
            lambda shard: self._core.shard_connection(shard, read),
            self._core.fan_out,
            self._core.runtime.wait_ready,
            limits=self._limits,
            plans=self._plans,
        )

    def map(self, call: Callable[[UnitOfWork], T], read: ReadChoice | None) -> ShardReport[T]:
        """Run a call on a unit of work of every shard, side by side."""
        shards = self._all_shards()
        topology = self._core.topology

        def on_shard(shard_id: ShardId) -> T:
            shard = topology.shard(shard_id)
            return call(UnitOfWork(self._core, shard, None, topology.slots, read))

        return map_shards(shards, on_shard, self._core.fan_out)

    def _all_shards(self) -> list[ShardId]:
        check_pin(("shard", "all of them"))
        return [shard.id for shard in self._core.topology.shards]
