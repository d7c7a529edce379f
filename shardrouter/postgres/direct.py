"""One connection to one node for occasional work: no pool, a deadline for connecting."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, create_engine, event, exc
from sqlalchemy.pool import NullPool

from shardrouter.errors import BackendUnreachable
from shardrouter.postgres.backend import Backend
from shardrouter.topology import Node, Shard


@contextmanager
def direct_connection(
    shard: Shard, node: Node, connect_timeout_seconds: float, application_name: str = "shardrouter"
) -> Iterator[Connection]:
    """Open a connection to the node for the block. Raises BackendUnreachable."""
    engine = create_engine("postgresql+psycopg://", poolclass=NullPool)

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, params: Any) -> Backend:
        return Backend.connect(
            node.dsn,
            connect_timeout=max(2, round(connect_timeout_seconds)),  # libpq: whole, 2 or more
            application_name=application_name,
            **params,
        )

    try:
        connection = engine.connect()
    except exc.OperationalError as error:
        raise BackendUnreachable(
            f"no connection: {str(error.orig).strip().splitlines()[0]}",
            shard=shard.id,
            node=node.id,
            hint="check that the node runs and accepts connections: `shardrouter shard list`",
        ) from error
    with connection:
        yield connection
