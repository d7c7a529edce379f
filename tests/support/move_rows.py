"""Moves as the catalog would give them, for tests that ask no catalog."""

from datetime import UTC, datetime

from shardrouter.catalog import Move
from shardrouter.topology import Direction, Epoch, MoveState, ShardId, Slot

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def some_move(number: int = 1) -> Move:
    """Return a new move of two slots from s0 to s1 that nobody carries out."""
    return Move(
        number=number,
        run=None,
        slots=(Slot(0), Slot(2)),
        source=ShardId("s0"),
        target=ShardId("s1"),
        state=MoveState.PLANNED,
        direction=Direction.FORWARD,
        attempt=1,
        token=0,
        owner=None,
        owner_expires_at=None,
        lease_seconds_left=0.0,
        held=False,
        wish=None,
        wished_at=None,
        wished_by=None,
        wish_reason=None,
        attention=None,
        progress={},
        facts={},
        limits={},
        copy_mode="safe",
        soak_seconds=300.0,
        created_at=NOON,
        updated_at=NOON,
        state_at=NOON,
        state_age_seconds=1.0,
        epoch=Epoch(0),
        cutover_at=None,
        pause_seconds=None,
        cutovers=0,
        actor="ann",
        reason="balance",
    )
