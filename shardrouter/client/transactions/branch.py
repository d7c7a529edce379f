"""One shard's part of a transaction over shards."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from shardrouter.client.runtime import Runtime
from shardrouter.client.unit import Checkout, ReadChoice
from shardrouter.errors import ShardRouterError, TransactionAborted
from shardrouter.topology import Shard, ShardId

logger = logging.getLogger(__name__)

T = TypeVar("T")

FAILURES: Final = (DBAPIError, ShardRouterError)
"""What talking to a shard may raise."""

_IN_FAILED_TRANSACTION: Final = "25P02"


class Shards(Protocol):
    """What a commit needs of the routing core."""

    runtime: Runtime

    def fan_out(self, calls: list[Callable[[], T]]) -> list[T | Exception]:
        """Run the calls side by side."""

    def shard_connection(
        self, shard_id: ShardId, read: ReadChoice | None
    ) -> AbstractContextManager[Connection]:
        """Check out a connection to the shard's primary for the block."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A connection to a shard with the transaction open."""

    shard: Shard
    checkout: Checkout

    @property
    def connection(self) -> Connection:
        return self.checkout.connection

    def give_back(self) -> None:
        """Return the connection to its pool. Safe to call twice."""
        self.checkout.give_back()


def rollback_all(branches: Sequence[Branch]) -> None:
    """Roll back plainly. A connection that cannot even do that is closed, which rolls back."""
    for branch in branches:
        if branch.connection.closed or branch.connection.invalidated:
            continue
        try:
            branch.connection.rollback()
        except DBAPIError as error:
            logger.info("rollback_by_close shard=%s error=%s", branch.shard.id, first_line(error))
            branch.connection.invalidate()


def do_or_abort(branches: Sequence[Branch], work: Callable[[], T]) -> T:
    """Do what comes before anything is prepared; roll every branch back when it fails."""
    try:
        return work()
    except BaseException:
        rollback_all(branches)
        raise


def aborted(shard: Shard, error: Exception) -> Exception:
    """Return our error for a lost shard; an error that is the statement's own stays itself."""
    hint = "nothing was written on any shard: run the whole transaction again"
    if getattr(getattr(error, "orig", None), "sqlstate", None) == _IN_FAILED_TRANSACTION:
        return TransactionAborted(
            "a statement had failed and its error was passed over", shard=shard.id, hint=hint
        )
    if isinstance(error, DBAPIError) and not error.connection_invalidated:
        return error
    return TransactionAborted(
        f"the shard was lost before the transaction was decided: {first_line(error)}",
        shard=shard.id,
        hint=hint,
    )


def first_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    message = error.message if isinstance(error, ShardRouterError) else str(error)
    return (message.strip().splitlines() or [type(error).__name__])[0]
