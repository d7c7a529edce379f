"""Carry moves out in this process, as ``rebalance apply`` does; tell how long each part took."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.measure import check
from shardrouter.catalog import CatalogStore, Move, NewMove, catalog_engine
from shardrouter.config import load_settings
from shardrouter.rebalance import Rebalance
from shardrouter.topology import MoveState, ShardId, Slot

ACTOR: Final = "benchmarks"
EVENTS: Final = 1000
_KIND: Final = "move_"


@dataclass(frozen=True, slots=True)
class Carried:
    """A move that is done."""

    move: Move
    began: Mapping[MoveState, float]
    """When it came into each state last, on the system's monotonic clock."""

    @property
    def total_seconds(self) -> float:
        return self.between(MoveState.PLANNED, MoveState.DONE)

    @property
    def copy_seconds(self) -> float:
        """From the first row asked for to the last one there; indexes are kept meanwhile."""
        return self.between(MoveState.COPYING, MoveState.CATCHING_UP)

    @property
    def pause_seconds(self) -> float:
        """How long writers were held back, by the mover's own clock."""
        return self.move.pause_seconds or 0.0

    def between(self, start: MoveState, end: MoveState) -> float:
        """Return the seconds from one state to another."""
        return self.began[end] - self.began[start]


class Carrier:
    """Makes moves and carries them out, one at a time."""

    def __init__(self, settings: Path) -> None:
        loaded = load_settings(settings)
        self.catalog = CatalogStore(catalog_engine(str(loaded.catalog.dsn)))
        self._settings = loaded

    def carry(
        self,
        slots: Sequence[Slot],
        source: str,
        target: str,
        *,
        copy_mode: str = "safe",
        **limits: Any,
    ) -> Carried:
        """Move slots; return when nothing of the move is left. Raises WrongAnswer.

        limits: settings of ``rebalance`` that differ for this move.
        """
        new = NewMove(
            tuple(slots), ShardId(source), ShardId(target), copy_mode=copy_mode, soak_seconds=0.0
        )
        rebalance = self._settings.rebalance.model_copy(update=limits)
        settings = self._settings.model_copy(update={"rebalance": rebalance})
        made = self.catalog.moves().create(new, actor=ACTOR, reason="a benchmark")
        [done] = Rebalance(settings, self.catalog, actor=ACTOR).run([made.number])
        check(
            done.state is MoveState.DONE,
            f"move {done.number} is {done.state}, not done: {done.attention}",
        )
        return Carried(done, self._times(done.number))

    def make_even(self) -> list[Move]:
        """Carry out the plan that makes the shards even; return its moves. Raises WrongAnswer."""
        rebalance = Rebalance(self._settings, self.catalog, actor=ACTOR)
        done = rebalance.apply(rebalance.plan())
        left = [move.number for move in done if move.state is not MoveState.DONE]
        check(not left, f"moves {left} are not done")
        return done

    def _times(self, number: int) -> Mapping[MoveState, float]:
        offset = time.monotonic() - datetime.now(UTC).timestamp()
        events = [e for e in self.catalog.events(EVENTS) if e.detail.get("move") == number]
        return {
            MoveState(event.kind.removeprefix(_KIND)): event.at.timestamp() + offset
            for event in sorted(events, key=lambda event: event.at)
            if event.kind.removeprefix(_KIND) in set(MoveState)
        }

    def close(self) -> None:
        """Close the connections to the catalog."""
        self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
