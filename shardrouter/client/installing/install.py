"""Make the tables of a MetaData on every shard, guard them, and register them.

On each shard one transaction makes tables and guards together, so no sharded table is ever
writable without its guard. The topology that names the tables is published last, and only at an
epoch with the very owners the guards were made for. Running it again finishes what is left.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, MetaData, exc

from shardrouter.client.installing.install_shard import ShardInstall, identities_made_with_tables
from shardrouter.client.installing.table_rules import Plan, plan_tables
from shardrouter.errors import ScatterFailed, ShardRouterError, StaleEpoch, UnsupportedSchema
from shardrouter.postgres import PATIENCE, Patience, Sleep
from shardrouter.topology import Epoch, ShardId, Topology
from shardrouter.topology import Table as Entry

T = TypeVar("T")

PUBLISH_ATTEMPTS: Final = 5  # somebody else's change must come in between each time


class TopologyStore(Protocol):
    """What is needed of the catalog: ``CatalogStore`` has it."""

    def load(self) -> Topology: ...

    def publish(self, new: Topology, *, expected: Epoch, actor: str, reason: str) -> None: ...


class FanOut(Protocol):
    """Runs calls side by side: ``Runtime.fan_out``."""

    def __call__(self, calls: Sequence[Callable[[], T]], /) -> list[T | Exception]: ...


Connect = Callable[[ShardId], AbstractContextManager[Connection]]
"""Connects to the primary of a shard, with no transaction open."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What the work is done with."""

    store: TopologyStore
    connect: Connect
    fan_out: FanOut
    sleep: Sleep = time.sleep
    patience: Patience = PATIENCE


def create_all(source: MetaData | type[Any], tools: Tools, *, actor: str) -> Topology:
    """Make the tables of a MetaData or declarative base everywhere; return the topology then.

    Tables that stand already are left as they are. Safe to repeat.

    Raises UnsupportedSchema for a table that cannot be spread as declared, or differs from the
    one that stands; ScatterFailed when a shard failed; StaleEpoch, CatalogUnavailable.
    """
    metadata = source if isinstance(source, MetaData) else source.metadata
    plans = plan_tables(metadata)
    for attempt in range(PUBLISH_ATTEMPTS):
        topology = tools.store.load()
        _refuse_registered_otherwise(plans, topology)
        try:
            _on_every_shard(metadata, plans, topology, tools)
            return _register(plans, topology, tools.store, actor)
        except StaleEpoch:  # slots may have moved: the guards must be made for their new owners
            if attempt + 1 == PUBLISH_ATTEMPTS:
                raise
            tools.sleep(0.1 * (attempt + 1))
    raise AssertionError("unreachable: the last attempt returns or raises")


def _refuse_registered_otherwise(plans: Sequence[Plan], topology: Topology) -> None:
    for plan in plans:
        if plan.entry.shard is not None:
            topology.shard(plan.entry.shard)
        known = topology.table(plan.entry.full_name)
        if known is not None and known != plan.entry:
            raise UnsupportedSchema(
                f"table {known.full_name} is registered as {_described(known)}, declared"
                f" {_described(plan.entry)}",
                epoch=topology.epoch,
                hint="declare it as it is registered: to spread it otherwise, make a new table and"
                " copy the rows",
            )


def _described(entry: Entry) -> str:
    by = ", ".join(f"{column.name} {column.type}" for column in entry.key)
    return f"{entry.kind}" + (f" by {by}" if by else f" {entry.shard or ''}".rstrip())


def _register(
    plans: Sequence[Plan], topology: Topology, store: TopologyStore, actor: str
) -> Topology:
    new = [plan.entry for plan in plans if topology.table(plan.entry.full_name) is None]
    if not new:
        return topology
    after = topology.next(tables=(*topology.tables, *new))
    names = ", ".join(entry.full_name for entry in new)
    store.publish(after, expected=topology.epoch, actor=actor, reason=f"create {names}")
    return after


def _on_every_shard(
    metadata: MetaData, plans: Sequence[Plan], topology: Topology, tools: Tools
) -> None:
    def work_of(shard: ShardId) -> Callable[[], None]:
        def work() -> None:
            with tools.connect(shard) as connection:
                ShardInstall(connection, metadata, plans, topology, shard).run(
                    tools.sleep, tools.patience
                )

        return work

    shards = [shard.id for shard in topology.shards]
    with identities_made_with_tables(plans):
        outcomes = tools.fan_out([work_of(shard) for shard in shards])
    failed = {
        shard: outcome
        for shard, outcome in zip(shards, outcomes, strict=True)
        if isinstance(outcome, Exception)
    }
    if failed:
        raise _failure(failed, [shard for shard in shards if shard not in failed], topology)


def _failure(
    failed: dict[ShardId, Exception], done: Sequence[ShardId], topology: Topology
) -> ShardRouterError:
    """Return one error that tells what became of each shard."""
    errors = list(failed.values())
    for error in errors:
        if isinstance(error, StaleEpoch):
            return error
    told = "; ".join(f"{shard}: {_first_line(error)}" for shard, error in failed.items())
    kind = (
        UnsupportedSchema
        if all(isinstance(error, UnsupportedSchema) for error in errors)
        else ScatterFailed
    )
    hints = [error.hint for error in errors if isinstance(error, ShardRouterError) and error.hint]
    again = "run it again afterwards: what stands is left as it is"
    where = f"made on {', '.join(done) or 'no shard'}, not on {', '.join(failed)}"
    return kind(
        f"the tables are {where} ({told})",
        epoch=topology.epoch,
        hint=f"{hints[0]}; {again}" if hints else again,
    )


def _first_line(error: Exception) -> str:
    if isinstance(error, ShardRouterError):
        return error.message
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    return (str(cause).strip().splitlines() or [type(error).__name__])[0]
