"""Tell the log of a statement that took long."""

from typing import TYPE_CHECKING

from shardrouter.proxy.telemetry.log_events import log_slow_query

if TYPE_CHECKING:
    from shardrouter.proxy.relay.pair import BackendRelay


def tell_slow_query(relay: "BackendRelay", seconds: float) -> None:
    """Log what the backend's client had asked last."""
    client = relay.client
    if client is None:
        return
    pool = relay.pool
    log_slow_query(
        client.text,
        seconds=seconds,
        client=client.session.number,
        user=pool.key.user,
        database=pool.key.database,
        shard=pool.shard.id,
        node=pool.key.node,
        standard_strings=relay.params.standard_strings,
        ascii_safe_encoding=relay.params.is_ascii_safe,
    )
