"""Take a guard's refusal back where the session was sent to a shard by an older topology.

What the client sent last goes back into its input and is sent again, once, by the topology that
the guard knows. Only where nothing was answered yet; everything else sees SR001.
"""

import asyncio
import json
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from shardrouter.proxy.relay.definition import SQL_MARK
from shardrouter.proxy.relay.own_answers import OwnAnswer
from shardrouter.proxy.relay.repeatable import may_repeat
from shardrouter.topology import Epoch
from shardrouter.wire.codes import Owed, Seen

if TYPE_CHECKING:
    from shardrouter.proxy.relay.backend import Backend
    from shardrouter.proxy.relay.session import Session

NOT_OWNED: Final = "SR001"
_IDLE: Final = ord("I")


def take_back(backend: "Backend", fields: Mapping[str, str]) -> bool:
    """Take a guard's error back, and have the client's statement run elsewhere. False: pass it on.

    Called before anything of the chunk with the error is written to the client.
    """
    client: Any = backend.relay.client
    if client is None or client.keeps or client.is_waiting:
        return False
    if not backend.plane.may_learn or not _is_alone(backend):
        return False
    session: Session = client.session
    epoch = _epoch_of_guard(session, fields)
    if epoch is None or epoch <= session.choice.epoch or session.repeated_at == client.queries:
        return False
    stream = backend.relay.stream
    said = b"".join(stream.pieces) if stream.flags & Seen.CUT else stream.data
    is_first = client.bytes_out == client.out_before and client.stream.left == 0
    if not is_first or not may_repeat(client.stream.data, said, lambda name: _text(client, name)):
        return False
    session.repeated_at = client.queries
    session.choice.least_epoch = epoch
    _send_again(backend, session)
    return True


def _is_alone(backend: "Backend") -> bool:
    """True when the error answers the only thing under way, outside a transaction."""
    relay, stream = backend.relay, backend.relay.stream
    if relay.suspicion or relay.is_held or relay.is_doubtful or backend.cancels:
        return False
    if stream.status != _IDLE or stream.is_skipping:
        return False
    if stream.owing == 0:
        return stream.ready_count == 1
    is_last = stream.head == len(stream.plan) - 1
    return is_last and stream.ready_count == 0 and stream.owing in (Owed.QUERY, Owed.SYNC)


def _epoch_of_guard(session: "Session", fields: Mapping[str, str]) -> Epoch | None:
    """Return the epoch of the guard that refused a row of the session's own key."""
    if session.choice.shard is not None or session.choice.slot is None:
        return None
    try:
        facts = json.loads(fields.get("D", ""))
        is_ours = facts["slot"] == session.choice.slot
        return Epoch(int(facts["epoch"])) if is_ours else None
    except (ValueError, TypeError, KeyError):
        return None  # somebody else's SR001


def _text(client: Any, name: bytes) -> bytes | None:
    statements = client.statements
    definition = statements.names.get(name) if name else statements.unnamed
    body: bytes | None = None if definition is None else definition.body
    if body is None or body.startswith(SQL_MARK):
        return None
    return body.partition(b"\0")[0]


def _send_again(backend: "Backend", session: "Session") -> None:
    """Put the client's last chunk back into its input; it goes on when the backend is free."""
    relay, client = backend.relay, session.relay
    stream = relay.stream
    stream.data, stream.pieces, stream.ready_count = b"", [], 0
    client.stream.start = client.stream.end = 0
    client.is_waiting = True
    client.version = 0
    client.answered_at = monotonic()
    backend.plane.repeats += 1
    backend.plane.refresh_topology()

    def go_on(answer: OwnAnswer | None = None) -> None:
        # After the chunk: then the backend is free, and another one is chosen.
        asyncio.get_running_loop().call_soon(_go_on, session)

    if stream.owing:  # the end of the answer has not come yet
        stream.take_over()
        backend.note_own(go_on)
    else:
        go_on()


def _go_on(session: "Session") -> None:
    relay = session.relay
    if relay.is_waiting and relay.backend is None and not session.is_over:
        session.attachment.choose_again()
