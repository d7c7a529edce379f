"""Sharding and replication for stock PostgreSQL.

The public names are loaded on first use, so that the CLI does not pay for what it does not need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from shardrouter.build import force_pure_if_asked

force_pure_if_asked()

if TYPE_CHECKING:
    from shardrouter.client import AsyncRouter, Router, reference, sharded
    from shardrouter.errors import ShardRouterError

_HOMES = {
    "AsyncRouter": "shardrouter.client",
    "Router": "shardrouter.client",
    "ShardRouterError": "shardrouter.errors",
    "reference": "shardrouter.client",
    "sharded": "shardrouter.client",
}

__all__ = ["AsyncRouter", "Router", "ShardRouterError", "reference", "sharded"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'shardrouter' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
