"""Errors a caller mends: the statement or the key."""

from shardrouter.errors.root import ShardRouterError


class RoutingError(ShardRouterError):
    """The statement or key cannot be routed."""

    sqlstate = "0A000"


class ShardKeyMissing(RoutingError):
    """A shard key is needed and none was given."""


class ShardKeyInvalid(RoutingError):
    """The shard key has no slot."""

    sqlstate = "22023"


class WrongShardKey(RoutingError):
    """The row belongs to another slot than this session."""

    sqlstate = "22023"


class ShardSwapError(RoutingError):
    """The unit of work is pinned to another shard key."""

    sqlstate = "25001"


class ReadOnlySession(RoutingError):
    """The session only reads."""

    sqlstate = "25006"


class ReferenceWrite(RoutingError):
    """A reference table is written on all shards or none."""

    sqlstate = "25001"


class CrossShardUnsupported(RoutingError):
    """The query cannot be merged over shards exactly."""


class TokenInvalid(RoutingError):
    """The freshness token is not valid."""

    sqlstate = "22023"
