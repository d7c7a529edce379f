"""Which servers a stream runs between: a failover makes others of them, and a stream may lose.

Up to 16 a logical replication slot does not exist on the standby that takes over; the target's
standby may lack what the source was told had arrived. So before the commit another server or
another timeline means: copy again. After it the guards are made again, see ``after_failover``.
"""

from collections.abc import Mapping
from typing import Any, Final

from shardrouter.catalog import Move
from shardrouter.rebalance.sessions import Identity, Session
from shardrouter.rebalance.troubles import StreamLost
from shardrouter.topology import MoveState, ShardId

FACT: Final = "identities"

_BOUND: Final = frozenset(
    {
        MoveState.COPYING,
        MoveState.CATCHING_UP,
        MoveState.VERIFYING,
        MoveState.READY,
        MoveState.PAUSING,
        MoveState.FENCING,
        MoveState.DRAINING,
    }
)
"""States in which the stream must run between the very servers it was made on."""


def identities_fact(source: Session, target: Session) -> dict[str, list[Any]]:
    """Return what is kept in the row."""
    return {
        session.shard: [session.identity.system_id, session.identity.timeline]
        for session in (source, target)
    }


def identity_of(facts: Mapping[str, Any], shard: ShardId) -> Identity | None:
    """Return who the shard's primary was, or None before it was recorded."""
    found = facts.get(FACT, {}).get(shard)
    return None if found is None else Identity(str(found[0]), int(found[1]))


def check_identity(move: Move, session: Session) -> None:
    """Raise StreamLost when the stream must not go on with this server."""
    known = identity_of(move.facts, session.shard)
    if known is None or known == session.identity or move.state not in _BOUND:
        return
    if known.system_id != session.identity.system_id:
        what = f"another server ({session.identity.system_id} instead of {known.system_id})"
    else:
        what = f"timeline {session.identity.timeline} instead of {known.timeline}"
    raise StreamLost(
        f"the primary of {session.shard} is {what} since the copy began",
        shard=session.shard,
        hint="nothing is to be done: the rows are copied again",
    )
