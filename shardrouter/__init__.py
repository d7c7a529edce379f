"""Sharding and replication for stock PostgreSQL."""

from typing import TYPE_CHECKING

from shardrouter.build import force_pure_if_asked
from shardrouter.lazy import lazy_names

force_pure_if_asked()

if TYPE_CHECKING:
    from shardrouter.client import AsyncRouter, Router, reference, sharded
    from shardrouter.errors import ShardRouterError

__all__ = ["AsyncRouter", "Router", "ShardRouterError", "reference", "sharded"]

__getattr__ = lazy_names(
    __name__,
    {
        "shardrouter.client": ("AsyncRouter", "Router", "reference", "sharded"),
        "shardrouter.errors": ("ShardRouterError",),
    },
)
