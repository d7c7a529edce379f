"""How a move stands, in words: how far it is, who carries it out, what to do next. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from shardrouter.catalog import Move
from shardrouter.rebalance.ending.soak import LOST
from shardrouter.rebalance.planning.slot_list import describe_slots
from shardrouter.rebalance.running.duties import CLEANING_UP, UNFINISHED, is_abandoned
from shardrouter.topology import CUTTING_OVER, MoveState, Wish, may_abort

_BEFORE_COPY: Final = frozenset({MoveState.PLANNED, MoveState.PREPARING, MoveState.RESTARTING})


@dataclass(frozen=True, slots=True)
class MoveStatus:
    """A move as it is shown to people and programs."""

    move: Move

    @property
    def is_attended(self) -> bool:
        """A process carries it out, or died less than its lease ago."""
        return self.move.owner is not None and self.move.lease_seconds_left > 0

    @property
    def is_at_rest(self) -> bool:
        """It does not go on by itself: it is over, held, or needs an operator."""
        move = self.move
        return move.is_over or move.held or move.attention is not None

    @property
    def number(self) -> int:
        return self.move.number

    @property
    def state(self) -> MoveState:
        return self.move.state

    @property
    def copied(self) -> float | None:
        """The part of the rows that is on the target, 0 to 1; None while it is not known."""
        return self.copied_of(self.move.progress)

    def copied_of(self, progress: Mapping[str, Any]) -> float | None:
        """The same by a newer progress than that of the row."""
        move = self.move
        if move.state in _BEFORE_COPY:
            return 0.0
        if move.state is not MoveState.COPYING:
            return None if move.state in (MoveState.ABORTING, MoveState.ABORTED) else 1.0
        for done, whole in (("bytes_copied", "bytes_total"), ("rows_copied", "rows_total")):
            if progress.get(whole) and done in progress:
                return min(1.0, float(progress[done] / progress[whole]))
        return None

    @property
    def no_way_back(self) -> str | None:
        """Why the slots cannot be brought back without a copy any more; None while they can."""
        return self.move.facts.get(LOST)

    @property
    def next_step(self) -> str:
        """What an operator can do; empty when there is nothing to do but wait."""
        move = self.move
        if move.is_over:
            return ""
        if move.attention is not None:
            ends = (
                f", or `shardrouter move abort {move.number}`"
                if may_abort(move.state, move.direction)
                else ""
            )
            return f"mend it, then `shardrouter rebalance resume`{ends}"
        if move.held and move.wish is not Wish.GO_ON:
            return "`shardrouter rebalance resume` lets it go on"
        if move.state is MoveState.SOAKING and move.wish is None:
            return self._while_it_soaks()
        return "" if self.is_attended else self._who_goes_on()

    def _who_goes_on(self) -> str:
        resume = "`shardrouter rebalance resume` carries it on"
        is_of_routers = self.state in CLEANING_UP or is_abandoned(self.move)
        if is_of_routers and self.state in UNFINISHED:
            return f"wait for a router (`rebalance.take_over`), or {resume} now"
        return resume

    def _while_it_soaks(self) -> str:
        number = self.number
        if self.no_way_back is not None:
            return f"wait, or `shardrouter move finish {number}`; no way back: {self.no_way_back}"
        return (
            f"wait, or `shardrouter move finish {number}`;"
            f" back with `shardrouter move reverse {number}`"
        )

    def as_data(self) -> dict[str, Any]:
        """Return it as plain JSON data."""
        move = self.move
        return {
            "move": move.number,
            "run": None if move.run is None else str(move.run),
            "state": move.state.value,
            "direction": move.direction.value,
            "from": move.source,
            "to": move.target,
            "slots": describe_slots(move.slots),
            "slot_count": len(move.slots),
            "attempt": move.attempt,
            "copied": self.copied,
            "progress": dict(move.progress),
            "owner": move.owner,
            "attended": self.is_attended,
            "held": move.held,
            "wish": None if move.wish is None else move.wish.value,
            "attention": move.attention,
            "no_way_back": self.no_way_back,
            "next": self.next_step,
            "soak_seconds": move.soak_seconds,
            "pause_seconds": move.pause_seconds,
            "cutovers": move.cutovers,
            "epoch": move.epoch,
            "created_at": move.created_at.isoformat(),
            "updated_at": move.updated_at.isoformat(),
            "state_age_seconds": round(move.state_age_seconds, 3),
            "actor": move.actor,
            "reason": move.reason,
        }


def holds_writers(move: Move) -> bool:
    """True while writers to the slots wait for this move."""
    return move.state in CUTTING_OVER
