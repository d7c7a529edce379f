"""The SQL that a move would run on each shard, as text for people. Pure; nothing is changed.

A publication has no values of its own here but those that will be true: names carry the number the
move would get, guards the epochs that would be published if nobody else publishes meanwhile.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from shardrouter.config import public_dsn
from shardrouter.postgres import Guard, sharded_tables, table_sql
from shardrouter.postgres.moving import (
    artefact_name,
    key_trigger_sql,
    pace_sql,
    publication_sql,
    subscription_sql,
    truncate_trigger_sql,
)
from shardrouter.rebalance.planning.plan import Batch
from shardrouter.topology import Direction, Motion, ShardId, SlotsInMotion, Table, Topology


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a move."""

    shard: ShardId
    step: str
    """The state of the move in which it runs."""

    sql: str


def statements_of(
    batch: Batch, topology: Topology, fleet: UUID, number: int, *, soaks: bool
) -> tuple[Statement, ...]:
    """Return what the move would run, in order; the rows' own copy and comparison left out.

    soaks: a reverse stream is made. Passwords in connection strings are masked.
    """
    return tuple(_Script(batch, topology, fleet, number).statements(soaks))


class _Script:
    """The statements of one move."""

    def __init__(self, batch: Batch, topology: Topology, fleet: UUID, number: int) -> None:
        self._batch = batch
        self._topology = topology
        self._fleet = fleet
        self._number = number
        self._tables: Sequence[Table] = sharded_tables(topology)

    def statements(self, soaks: bool) -> Iterator[Statement]:
        source, target = self._batch.source, self._batch.target
        for shard in (source, target):
            yield from self._locks(shard)
        yield from self._publication(source, "preparing", Direction.FORWARD)
        for table in self._tables:
            for sql in pace_sql(table, self._number):
                yield Statement(target, "preparing", sql)
        yield from self._replication_slot(source, "preparing", Direction.FORWARD)
        yield self._subscription(target, source, "copying", Direction.FORWARD, copies=True)
        if soaks:
            yield from self._publication(target, "ready", Direction.BACK)
            yield from self._replication_slot(target, "ready", Direction.BACK)
            yield self._subscription(source, target, "ready", Direction.BACK, copies=False)
        paused = self._in_motion(self._topology, Motion.PAUSED, source)
        yield from self._guards(source, "fencing", paused)
        yield from self._guards(target, "committed", self._in_motion(paused, Motion.MOVED, target))
        for shard, direction in ((target, Direction.FORWARD), (source, Direction.BACK)):
            if soaks or direction is Direction.FORWARD:
                name = self._name(direction)
                yield Statement(shard, "cleaning", f"DROP SUBSCRIPTION {name}")
                other = source if shard == target else target
                yield Statement(other, "cleaning", f"SELECT pg_drop_replication_slot('{name}')")
                yield Statement(other, "cleaning", f"DROP PUBLICATION {name}")

    def _name(self, direction: Direction) -> str:
        return artefact_name(self._fleet, self._number, 1, direction)

    def _locks(self, shard: ShardId) -> Iterator[Statement]:
        for table in self._tables:
            made = key_trigger_sql(table, self._batch.slots, self._topology.slots, self._number)
            for sql in (*made, truncate_trigger_sql(table.schema, table.name, self._number)):
                yield Statement(shard, "preparing", sql)

    def _publication(self, shard: ShardId, step: str, direction: Direction) -> Iterator[Statement]:
        sql = publication_sql(
            self._name(direction),
            self._tables,
            self._batch.slots,
            self._topology.slots,
            move=self._number,
            attempt=1,
            direction=direction,
        )
        yield Statement(shard, step, sql)

    def _replication_slot(
        self, shard: ShardId, step: str, direction: Direction
    ) -> Iterator[Statement]:
        name = self._name(direction)
        sql = f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"
        yield Statement(shard, step, sql)

    def _subscription(
        self, shard: ShardId, publisher: ShardId, step: str, direction: Direction, *, copies: bool
    ) -> Statement:
        name = self._name(direction)
        dsn = public_dsn(self._topology.shard(publisher).primary.dsn)
        sql = subscription_sql(name, dsn, name, name, copy_data=copies, enabled=copies)
        return Statement(shard, step, sql)

    def _guards(self, shard: ShardId, step: str, topology: Topology) -> Iterator[Statement]:
        names = ", ".join(table_sql(table) for table in self._tables)
        yield Statement(shard, step, f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")
        for table in self._tables:
            for sql in Guard.of(table, topology, shard).install_sql():
                yield Statement(shard, step, sql)

    def _in_motion(self, topology: Topology, motion: Motion, owner: ShardId) -> Topology:
        batch = self._batch
        wanted = SlotsInMotion(self._number, batch.slots, batch.source, batch.target, motion)
        owners = topology.owners_with(batch.slots, owner)
        return topology.with_motion(wanted, owners=owners)
