"""Plain psycopg connections out of the same pools: the rules, without the waiting.

The routers' ``connection()`` differ only in ``await``; what happens is decided here.
"""

import psycopg

from shardrouter.client.pools import slot_not_owned
from shardrouter.client.unit import UnitOfWork
from shardrouter.errors import ShardRouterError, SlotNotOwned


def translate(error: BaseException, unit: UnitOfWork) -> ShardRouterError | None:
    """Return our error for what a guard said, None for an error that is the caller's own."""
    if isinstance(error, psycopg.Error) and error.sqlstate == SlotNotOwned.sqlstate:
        return slot_not_owned(error, unit.shard.id)
    return None
