"""The library door: routers, sessions, models."""

from typing import TYPE_CHECKING

from shardrouter.lazy import lazy_names

if TYPE_CHECKING:
    from shardrouter.client.async_router import AsyncRouter
    from shardrouter.client.models import local, reference, sharded
    from shardrouter.client.router import Router
    from shardrouter.client.session import ShardSession

__all__ = ["AsyncRouter", "Router", "ShardSession", "local", "reference", "sharded"]

__getattr__ = lazy_names(
    __name__,
    {
        "AsyncRouter": "shardrouter.client.async_router",
        "Router": "shardrouter.client.router",
        "ShardSession": "shardrouter.client.session",
        "local": "shardrouter.client.models",
        "reference": "shardrouter.client.models",
        "sharded": "shardrouter.client.models",
    },
)
