"""What the catalog remembers of moves, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from shardrouter.topology import OVER, Direction, Epoch, MoveState, ShardId, Slot, Wish


@dataclass(frozen=True, slots=True)
class NewMove:
    """A move that is to be made."""

    slots: tuple[Slot, ...]
    source: ShardId
    target: ShardId
    copy_mode: str = "safe"
    """``safe`` or ``fast``, see ``rebalance.copy_mode``."""

    soak_seconds: float = 300.0
    run: UUID | None = None
    """The ``rebalance apply`` it is a part of."""


@dataclass(frozen=True, slots=True)
class Move:
    """A move as the catalog saw it last. Times are the catalog's clock."""

    number: int
    run: UUID | None
    slots: tuple[Slot, ...]
    """Ascending."""

    source: ShardId
    target: ShardId
    state: MoveState
    direction: Direction
    attempt: int
    """From 1; a new one begins with the copy, under new names."""

    token: int
    """Grows with every claim. Who writes with a smaller one is refused, here and on the shards."""

    owner: str | None
    """The process that carries it out, or did; None after it gave the move back. While nobody's
    lease holds it names a process that died."""

    owner_expires_at: datetime | None
    """From then on any other process may claim the move."""

    lease_seconds_left: float = field(compare=False)
    """How long after this was read that is; 0 when it may be claimed."""

    held: bool
    """An operator made it rest."""

    wish: Wish | None
    """What an operator asks and the mover has not obeyed yet."""

    wished_at: datetime | None
    wished_by: str | None
    wish_reason: str | None
    attention: str | None
    """Why it waits for an operator; None when it does not."""

    progress: Mapping[str, Any]
    """``rows_total``, ``rows_copied``, ``lag_bytes``, ``eta_seconds``, ``waits_for``, ..."""

    facts: Mapping[str, Any]
    """What later steps rely on: identities of servers, fingerprints, sequences, ids of markers."""

    limits: Mapping[str, Any]
    """Settings of ``rebalance`` that an operator changed for this move while it runs."""

    copy_mode: str
    soak_seconds: float
    created_at: datetime
    updated_at: datetime
    state_at: datetime
    """When it came into its state."""

    state_age_seconds: float = field(compare=False)
    """How long before this was read it came into its state."""

    epoch: Epoch
    """Of its last publication; 0 before the first."""

    cutover_at: datetime | None
    """When its slots changed their owner last."""

    pause_seconds: float | None
    """How long writers waited in its last cutover."""

    cutovers: int
    """Cutovers that were tried."""

    actor: str
    reason: str

    @property
    def losing(self) -> ShardId:
        """The shard that owns the slots until the next cutover."""
        return self.source if self.direction is Direction.FORWARD else self.target

    @property
    def gaining(self) -> ShardId:
        """The shard that owns the slots after the next cutover."""
        return self.target if self.direction is Direction.FORWARD else self.source

    @property
    def silent_seconds(self) -> float:
        """How long before this was read its last lease ended, or it was given back; 0 while one
        holds.
        """
        since = self.owner_expires_at
        return self.untouched_seconds if since is None else max(0.0, self._seconds_since(since))

    @property
    def untouched_seconds(self) -> float:
        """How long before this was read a process claimed it or gave it back last."""
        return self._seconds_since(self.updated_at)

    def _seconds_since(self, moment: datetime) -> float:
        read_at = self.state_at + timedelta(seconds=self.state_age_seconds)
        return (read_at - moment).total_seconds()

    @property
    def is_over(self) -> bool:
        """True when nothing is left to do."""
        return self.state in OVER


@dataclass(frozen=True, slots=True)
class Artefact:
    """Something a move makes on a shard, noted before it is made."""

    move: int
    shard: ShardId
    kind: str
    """``publication``, ``subscription``, ``replication_slot``, ..."""

    name: str
    recorded_at: datetime
