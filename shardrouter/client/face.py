"""What both routers offer alike, because it neither waits nor connects."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from shardrouter.client.causal import causal_scope, current_scope
from shardrouter.client.core import RouterCore, Watcher
from shardrouter.client.pin import pinned
from shardrouter.routing import FleetView, Token
from shardrouter.topology import Shard, Slot, Topology, key_slot


class RouterFace:
    """Topology, keys, tokens and pins of a router."""

    def __init__(self, core: RouterCore, session_options: dict[str, Any]) -> None:
        self._core = core
        self._session_options = session_options

    @property
    def topology(self) -> Topology:
        """The current topology. Raises LeaseExpired."""
        return self._core.topology

    @property
    def fleet_view(self) -> FleetView:
        """What the monitor saw of each node last: role, position, lag, or why it is down."""
        return self._core.background.monitor.view

    def slot_of(self, key: Any) -> Slot:
        """Return the slot of a key. Raises ShardKeyMissing, ShardKeyInvalid."""
        return key_slot(key, self.topology.slots)

    def shard_of(self, key: Any) -> Shard:
        """Return the shard that owns a key."""
        topology = self.topology
        return topology.owner(key_slot(key, topology.slots))

    def token(self) -> str:
        """Return the context's freshness token: opaque text for a cookie, header or message."""
        return current_scope().token.to_text()

    @contextmanager
    def causal(self, token: str | None = None) -> Iterator[None]:
        """Within the block reads see everything committed before the token was taken.

        Without a token the block only gets a scope of its own. Raises TokenInvalid.
        """
        with causal_scope(Token.from_text(token) if token else Token()):
            yield

    def watch_checkouts(self, watcher: Watcher) -> AbstractContextManager[None]:
        """Tell ``watcher(shard, node)`` of every checkout of this router during the block."""
        return self._core.watch_checkouts(watcher)

    def pin(self) -> AbstractContextManager[None]:
        """Within the block the first key touched is the only one; another raises ShardSwapError."""
        return pinned()
