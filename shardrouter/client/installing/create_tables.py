"""``router.create_all``: what ``install`` does, with the means of a router.

The same for both doors: it makes connections of its own and waits for locks, so an async router
runs all of it in a thread.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, MetaData

from shardrouter.client.causal import current_scope
from shardrouter.client.core import RouterCore
from shardrouter.client.installing.install import Tools, create_all
from shardrouter.client.pools import driver_connection
from shardrouter.client.runtime import ThreadRuntime
from shardrouter.postgres import direct_connection
from shardrouter.routing import writable_node
from shardrouter.topology import ShardId, Topology

APPLICATION_NAME: Final = "shardrouter-create-all"


def create_tables(core: RouterCore, source: MetaData | type[Any]) -> Topology:
    """Make the tables everywhere; on return the router knows them. Errors as ``create_all``."""
    _ = core.topology  # raises RouterClosed, LeaseExpired
    scope = current_scope()  # reads that follow go to replicas that have the tables

    @contextmanager
    def connect(shard_id: ShardId) -> Iterator[Connection]:
        topology = core.topology
        shard = topology.shard(shard_id)
        node = writable_node(shard, core.background.monitor.view, topology.epoch)
        timeout = core.settings.pool.connect_timeout_seconds
        with direct_connection(shard, node, timeout, APPLICATION_NAME) as connection:
            driver_connection(connection.connection.dbapi_connection).on_commit = partial(
                scope.record, shard_id
            )
            yield connection

    def work() -> Topology:
        side_by_side = ThreadRuntime(core.settings.gather.concurrency)
        try:
            tools = Tools(core.background.store, connect, side_by_side.fan_out)
            made = create_all(source, tools, actor="create_all")
        finally:
            side_by_side.close()
        core.background.keeper.refresh(core.settings.catalog.statement_timeout_seconds)
        return made

    return core.runtime.run_blocking(work)
