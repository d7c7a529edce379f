"""Plain psycopg connections out of the same pools: the rules, without the waiting.

The routers' ``connection()`` differ only in ``await``; what happens is decided here.
"""

from typing import Any

import psycopg
from sqlalchemy import Connection

from shardrouter.client.pools import driver_connection, slot_not_owned
from shardrouter.client.unit import UnitOfWork
from shardrouter.errors import ShardRouterError, SlotNotOwned


def driver_of(connection: Connection) -> Any:
    """Return the psycopg connection of a checked-out SQLAlchemy connection."""
    return driver_connection(connection.connection.dbapi_connection)


def translate(error: BaseException, unit: UnitOfWork) -> ShardRouterError | None:
    """Return our error for what a guard said, None for an error that is the caller's own."""
    if isinstance(error, psycopg.Error) and error.sqlstate == SlotNotOwned.sqlstate:
        return slot_not_owned(error, unit.shard.id)
    return None
