"""Errors of moves of slots between shards."""

from shardrouter.errors.root import ShardRouterError
from shardrouter.errors.topology import TopologyError


class MoveError(ShardRouterError):
    """The move cannot go on."""

    sqlstate = "55000"


class MoveRefused(MoveError):
    """The move cannot be done as asked."""


class UnknownMove(MoveError):
    """There is no such move."""

    sqlstate = "42704"


class MoveBusy(MoveError):
    """Another process carries the move out."""

    sqlstate = "55006"
    retryable = True


class MoveTakenOver(MoveError):
    """Another process has taken the move over."""

    sqlstate = "55006"


class MoveMismatch(MoveError):
    """The rows on both sides of the move differ."""

    sqlstate = "XX001"


class SlotsHeld(TopologyError):
    """The slot is being handed over to another shard, and that takes too long."""
