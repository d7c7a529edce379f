"""Tell whether work of this worker's sessions that began under an earlier topology is still open.

Thinking only. A session that keeps its backend counts only while it is in a transaction or waits
for an answer; one that is held, or at rest, has nothing open.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from shardrouter.control import Drain
from shardrouter.proxy.relay.motions import hands_over, named_slot
from shardrouter.topology import Topology

if TYPE_CHECKING:
    from shardrouter.proxy.relay.backend import Backend

_IDLE: Final = ord("I")


def drain_of(topology: Topology, backends: Iterable["Backend"]) -> Drain:
    """Return what is not open any more of the work that began before this topology."""
    readers = writers = True
    for backend in backends:
        client: Any = backend.relay.client
        if client is None or not _is_open(backend, client, topology):
            continue
        pool = backend.pool
        slot = named_slot(client.session.choice)
        if slot is not None:
            readers = readers and slot not in topology.moving_slots
            writers = writers and not (pool.is_for_writes and topology.is_paused(slot))
        elif pool.is_for_writes and hands_over(topology, pool.shard.id):
            writers = False
    return Drain(readers=readers, writers=writers)


def _is_open(backend: "Backend", client: Any, topology: Topology) -> bool:
    stream = backend.relay.stream
    if client.session.choice.epoch >= topology.epoch:
        return False
    is_busy = stream.owed() or stream.status != _IDLE or stream.is_skipping
    return bool(is_busy or client.stream.left)
