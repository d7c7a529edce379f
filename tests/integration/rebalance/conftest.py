"""A move of some rows from s0 to s1, and clients that write and read meanwhile."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest

from shardrouter.topology import Slot
from tests.support.ledger_doors import LibraryDoor
from tests.support.ledger_work import Workload
from tests.support.moving_bed import MovingBed

MOVING = 8
ROWS = 400

Clients = Callable[[], AbstractContextManager[Workload]]


@dataclass(frozen=True)
class Prepared:
    """A bed with rows in slots of s0 that are going to move, and in others that are not."""

    bed: MovingBed
    slots: Sequence[Slot]

    def create(self, **options: object) -> int:
        """Note the move; return its number."""
        return self.bed.create_move(self.slots, **options)

    def owners(self) -> set[str]:
        """Return who owns the slots now."""
        return {str(self.bed.topology.owners[slot]) for slot in self.slots}

    def account(self) -> int:
        """Return an account in the slots."""
        return self.bed.groups[self.slots[0]][0]

    @contextmanager
    def clients(self) -> Iterator[Workload]:
        """Let two clients of the library write and read for the block; none may fail."""
        with self.bed.router() as router:
            doors = [lambda: LibraryDoor(router)] * 2
            work = Workload(self.bed.ledger, self.bed.groups, doors, seed=1, pause_seconds=0.005)
            with work.running():
                work.wait_for_more(10)
                yield work
                work.wait_for_more(20)
        assert [str(failure) for failure in self.bed.ledger.failures] == []


@pytest.fixture
def prepared(bed: MovingBed) -> Prepared:
    slots = bed.slots_of("s0", MOVING)
    staying = (*bed.slots_of("s0", 2, skip=MOVING), *bed.slots_of("s1", 2))
    bed.open_accounts([*slots, *staying])
    bed.fill("s0", ROWS)
    bed.fill("s1", ROWS // 10)
    return Prepared(bed, slots)
