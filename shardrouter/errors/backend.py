"""Errors of Postgres, of the network, and of commits."""

from collections.abc import Mapping

from shardrouter.errors.root import ShardRouterError


class BackendError(ShardRouterError):
    """A Postgres node failed."""

    sqlstate = "08000"


class BackendUnreachable(BackendError):
    """The node does not accept connections."""

    sqlstate = "08001"
    retryable = True


class BackendRefused(BackendError):
    """The node refused the connection."""

    sqlstate = "08004"

    def __init__(
        self,
        message: str | None = None,
        *,
        fields: Mapping[str, str] | None = None,
        hint: str | None = None,
        node: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, node=node)
        self.fields: Mapping[str, str] = fields or {}
        """What the node said, by the letters of ErrorResponse; empty where we refused it."""
        if len(code := self.fields.get("C", "")) == 5 and code.isalnum():
            self.sqlstate = code


class BackendLost(BackendError):
    """The connection to the node broke."""

    sqlstate = "08006"


class PoolTimeout(BackendError):
    """All connections to the node are in use."""

    sqlstate = "53300"
    retryable = True


class LockTimeout(BackendError):
    """The table stayed locked by other transactions."""

    sqlstate = "55P03"
    retryable = True


class ReplicaTooStale(BackendError):
    """No replica is fresh enough."""

    sqlstate = "57P03"
    retryable = True


class ScatterFailed(BackendError):
    """Not every shard answered."""

    sqlstate = "08006"


class CommitError(ShardRouterError):
    """The transaction did not commit plainly."""

    sqlstate = "08007"


class CommitInDoubt(CommitError):
    """The outcome of the commit is not known yet."""


class TransactionAborted(CommitError):
    """The transaction was rolled back on every shard."""

    sqlstate = "40000"
    retryable = True
