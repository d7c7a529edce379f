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
        "shardrouter.client.async_router": ("AsyncRouter",),
        "shardrouter.client.models": ("local", "reference", "sharded"),
        "shardrouter.client.router": ("Router",),
        "shardrouter.client.session": ("ShardSession",),
    },
)
