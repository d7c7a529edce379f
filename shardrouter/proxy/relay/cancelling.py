"""Carry a client's cancel request to the server, and keep the backend from others meanwhile."""

import logging
from typing import TYPE_CHECKING

from shardrouter.errors import BackendError
from shardrouter.proxy.backend.login import send_cancel
from shardrouter.proxy.relay.own_answers import unused

if TYPE_CHECKING:
    from shardrouter.proxy.relay.backend import Backend

logger = logging.getLogger(__name__)


async def carry_cancels(backend: "Backend") -> None:
    """Send cancel requests until the server has heard all that were asked for."""
    seconds = backend.pool.settings.connect_timeout_seconds
    try:
        heard = 0
        while heard < backend.cancels and backend.owes_client():
            heard = backend.cancels  # those that come meanwhile share the next
            await send_cancel(backend.pool.key.dsn, backend.pid, backend.key, seconds)
    except BackendError as error:
        logger.warning("cancel_failed node=%s reason=%r", backend.pool.key.node, error.message)
        backend.relay.is_doubtful = True  # it may still arrive
    finally:
        backend.cancels = 0
        if backend.state != "closing" and not backend.relay.stream.owed():
            # The signal was sent before that connection ended: this round trip takes it.
            backend.ask("", unused)
