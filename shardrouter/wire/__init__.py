"""The Postgres wire protocol: bytes to messages and back. Values in, values out."""

from shardrouter.wire import messages

__all__ = [
    "messages",
]
