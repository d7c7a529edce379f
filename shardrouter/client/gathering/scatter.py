"""What a router does on all shards at once: gather a query, run a function."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, Result, Select

from shardrouter.client.gathering.gather import gather
from shardrouter.client.gathering.plans import GatherPlans
from shardrouter.client.gathering.run import GatherLimits
from shardrouter.client.outcomes import ShardReport, map_shards
from shardrouter.client.pin import check_pin
from shardrouter.client.runtime import Runtime
from shardrouter.client.stay import Stay, owners_of_paused
from shardrouter.client.unit import FROM_PRIMARY, Checkouts, ReadChoice, UnitOfWork
from shardrouter.config import GatherSettings
from shardrouter.errors import LeaseExpired
from shardrouter.topology import Shard, ShardId, Topology

T = TypeVar("T")

ALL_SHARDS: Final = ("shard", "all of them")


class ScatterCore(Checkouts, Protocol):
    """The routing core, as it is seen from here."""

    runtime: Runtime

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
        """Return the rows of a SELECT over all shards; see client.gather.

        One topology says for all shards which rows are whose; a move waits for the gather's end
        before it goes on. Should the lease have run out meanwhile, it has perhaps not waited.
        Raises LeaseExpired then.
        """
        check_pin(ALL_SHARDS)
        in_flight = self._core.in_flight
        stay, lease = Stay(waits=read.needs_replica), in_flight.lease_mark()
        topology = in_flight.enter(stay)
        try:
            result = self._gather(statement, read, topology)
            if not in_flight.has_lease_since(lease):
                raise LeaseExpired(
                    "the lease on the topology ran out while rows were gathered: they may have"
                    " moved to other shards meanwhile",
                    epoch=topology.epoch,
                    hint="run it again; if this is frequent, look why the catalog does not answer",
                )
        finally:
            in_flight.leave(stay)
        return result

    def _gather(self, statement: Select[Any], read: ReadChoice, topology: Topology) -> Result[Any]:
        late = owners_of_paused(topology) if read.may_use_replica else frozenset()
        return gather(
            statement,
            [shard.id for shard in topology.shards],
            lambda shard: self._core.shard_connection(
                shard, FROM_PRIMARY if shard in late else read
            ),
            self._core.fan_out,
            self._core.runtime.wait_ready,
            limits=self._limits,
            plans=self._plans,
            own=self._core.own_rows(topology),
        )

    def map(self, call: Callable[[UnitOfWork], T], read: ReadChoice | None) -> ShardReport[T]:
        """Run a call on a unit of work of every shard, side by side.

        They all go by one topology: else rows that move meanwhile could be met twice, or never.
        """
        check_pin(ALL_SHARDS)
        in_flight = self._core.in_flight
        waits = read is None or read.needs_replica
        stay = Stay(writes=read is None, waits=waits)
        topology = in_flight.enter(stay)

        def on_shard(shard_id: ShardId) -> T:
            shard = topology.shard(shard_id)
            return call(PartUnit(self._core, shard, topology.slots, read, stay))

        try:
            shards = [shard.id for shard in topology.shards]
            return map_shards(shards, on_shard, self._core.fan_out)
        finally:
            in_flight.leave(stay)


class PartUnit(UnitOfWork):
    """The unit of one shard of a map, which has begun for all shards together."""

    __slots__ = ("_whole",)

    def __init__(
        self, core: Checkouts, shard: Shard, slots: int, read: ReadChoice | None, whole: Stay
    ) -> None:
        super().__init__(core, shard, None, slots, read)
        self._whole = whole

    def _enter(self) -> Stay:
        return self._whole

    def _leave(self, stay: Stay) -> None:
        pass
