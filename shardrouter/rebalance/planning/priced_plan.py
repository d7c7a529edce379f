"""A plan as the operator sees it: moves in order with their prices, for one fleet at one epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from uuid import UUID

from shardrouter.errors import StaleEpoch
from shardrouter.rebalance.planning.plan import Batch, Measure, Proposal
from shardrouter.rebalance.planning.price import Price, Rates
from shardrouter.topology import Epoch, Slot, Topology


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """One move and what to expect of it."""

    batch: Batch
    price: Price


@dataclass(frozen=True, slots=True)
class RebalancePlan:
    """Moves that make the shards even. Valid for one epoch of one fleet."""

    fleet: UUID
    epoch: Epoch
    made_at: datetime
    measure: Measure
    imbalance_before: float
    imbalance_after: float
    left_to_drain: int
    hot: tuple[Slot, ...]
    rates: Rates
    moves: tuple[PlannedMove, ...]

    @classmethod
    def of(
        cls,
        fleet: UUID,
        topology: Topology,
        made_at: datetime,
        measure: Measure,
        proposal: Proposal,
        rates: Rates,
        prices: Sequence[Price],
    ) -> Self:
        """Put proposal and prices together."""
        return cls(
            fleet=fleet,
            epoch=topology.epoch,
            made_at=made_at,
            measure=measure,
            imbalance_before=proposal.imbalance_before,
            imbalance_after=proposal.imbalance_after,
            left_to_drain=proposal.left_to_drain,
            hot=proposal.hot,
            rates=rates,
            moves=tuple(map(PlannedMove, proposal.batches, prices)),
        )

    @property
    def slots(self) -> int:
        """How many slots change their shard."""
        return sum(len(move.batch.slots) for move in self.moves)

    @property
    def rows(self) -> int:
        return sum(move.price.rows for move in self.moves)

    @property
    def bytes(self) -> int:
        return sum(move.price.bytes for move in self.moves)

    def require_current(self, fleet: UUID, epoch: Epoch) -> None:
        """Raise StaleEpoch unless the plan is of this fleet as it is now."""
        if fleet != self.fleet:
            raise StaleEpoch(
                f"the plan is of fleet {self.fleet}, this is fleet {fleet}",
                epoch=epoch,
                hint="use the settings file of the plan's fleet (--config), or plan again",
            )
        if epoch != self.epoch:
            raise StaleEpoch(
                f"the plan is of epoch {self.epoch}, the fleet is at {epoch}",
                epoch=epoch,
                hint=f"see what changed with `shardrouter topology diff {self.epoch} {epoch}`,"
                " then plan again: what is done already is left out",
            )
