"""The freshness token of the running context.

Each unit of execution that has nothing else (a thread, an asyncio task) has its own; tasks and
threads started inside ``router.causal()`` share that scope's, so that a worker thread's commit is
seen by the request that started it. Sharing can only make reads fresher.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from shardrouter.routing import Token
from shardrouter.topology import Position, ShardId


class CausalScope:
    """Holds the token of one context; safe to use from several threads."""

    __slots__ = ("_lock", "pending", "token")

    def __init__(self, token: Token) -> None:
        self.token = token
        self.pending: Mapping[ShardId, frozenset[str]] = {}
        """Global ids of this context's commits that a shard has still to carry out: it was down."""

        self._lock = threading.Lock()

    def record(self, shard: ShardId, position: Position, epoch: int = 0) -> None:
        """Note a commit; ``epoch`` as in ``Token``."""
        with self._lock:
            self.token = self.token.with_commit(shard, position, epoch)

    def add_pending(self, shard: ShardId, gid: str) -> None:
        """Note a commit that the shard shows only later."""
        with self._lock:
            self.pending = {**self.pending, shard: self.pending.get(shard, frozenset()) | {gid}}

    def forget_pending(self, shard: ShardId, gids: frozenset[str]) -> None:
        """Note that the shard has carried these out; their position was recorded before."""
        with self._lock:
            left = {**self.pending, shard: self.pending.get(shard, frozenset()) - gids}
            self.pending = {shard: gids for shard, gids in left.items() if gids}

    def merge(self, token: Token) -> None:
        """Demand also what another token demands."""
        with self._lock:
            self.token = self.token.merged(token)


_scope: ContextVar[CausalScope | None] = ContextVar("shardrouter_causal_scope", default=None)


def current_scope() -> CausalScope:
    """Return the context's scope; make one on first use."""
    scope = _scope.get()
    if scope is None:
        scope = CausalScope(Token())
        _scope.set(scope)
    return scope


@contextmanager
def causal_scope(token: Token) -> Iterator[CausalScope]:
    """Run the block in a scope of its own that starts from the token."""
    scope = CausalScope(token)
    reset = _scope.set(scope)
    try:
        yield scope
    finally:
        _scope.reset(reset)
