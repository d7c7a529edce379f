"""The library door: routers, sessions, models."""

from shardrouter.client.async_router import AsyncRouter
from shardrouter.client.models import local, reference, sharded
from shardrouter.client.router import Router
from shardrouter.client.session import ShardSession

__all__ = ["AsyncRouter", "Router", "ShardSession", "local", "reference", "sharded"]
