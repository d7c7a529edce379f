"""One move under load that is hurt on its way, carried on by other movers, judged at its end."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from shardrouter import Router
from shardrouter.catalog import Move
from shardrouter.topology import STATES, MoveState, Slot, Wish
from tests.plugins.fix_matrix import PROPERTY
from tests.support.eventually import PATIENCE, eventually
from tests.support.ledger_doors import INSERT, LibraryDoor, OpenDoor
from tests.support.ledger_shards import open_accounts
from tests.support.ledger_tables import accounts_in
from tests.support.ledger_work import Workload
from tests.support.moving_bed import MovingBed
from tests.support.moving_watch import Trespasser, watched
from tests.support.rebalance_process import MoverProcess

MOVING: Final = 8  # slots of the move
STAYING: Final = 2  # on each shard, with accounts that clients write to as well
ROWS: Final = 400
SOAK_SECONDS: Final = 0.2  # long enough for a reverse stream to be made
FINISH_SECONDS: Final = 40.0
MOST_MOVERS: Final = 8
LEASE_SECONDS: Final = 15.0  # longer than the default lease

ORDER: Final = [state.value for state in STATES]

StartMover = Callable[..., MoverProcess]


class Scene:
    """A bed with rows in slots of s0 that move to s1, clients of the library, and movers."""

    def __init__(
        self, bed: MovingBed, start_mover: StartMover, *, rows: int = ROWS, copy_mode: str = "safe"
    ) -> None:
        self.bed = bed
        self._start = start_mover
        self.slots: Sequence[Slot] = bed.slots_of("s0", MOVING)
        staying = (*bed.slots_of("s0", STAYING, skip=MOVING), *bed.slots_of("s1", STAYING))
        bed.open_accounts([*self.slots, *staying])
        bed.fill("s0", rows)
        bed.fill("s1", rows // 10)
        self._copy_mode = copy_mode
        self.number = 0
        self.mover: MoverProcess | None = None
        self.make_anew()
        self.finished_after_seconds = 0.0
        self.attention: list[str] = []
        """What movers have asked an operator about."""

    def make_anew(self) -> None:
        """Make the move; again when the one before is over."""
        self.mover = None
        self.number = self.bed.create_move(
            self.slots, soak_seconds=SOAK_SECONDS, copy_mode=self._copy_mode
        )

    # Clients

    @contextmanager
    def clients(self, *doors: OpenDoor, router: Router | None = None) -> Iterator[Workload]:
        """Run two clients of the library, those of ``doors``, and the watches for the block."""
        with ExitStack() as stack:
            opened = router or stack.enter_context(self.bed.router())
            library: list[OpenDoor] = [lambda: LibraryDoor(opened)] * 2
            trespasser: Trespasser = stack.enter_context(watched(self.bed))
            work = Workload(
                self.bed.ledger, self.bed.groups, [*library, *doors], seed=self.number,
                pause_seconds=0.01,
            )  # fmt: skip
            with work.running():
                work.wait_for_more(10)
                yield work
                work.wait_for_more(40)
        assert trespasser.refused > 0

    def open_quiet_account(self) -> tuple[int, int]:
        """Return an account in a slot that moves, with an entry; clients leave both alone."""
        slot = self.slots[0]
        count = self.bed.topology.slots
        account = accounts_in([slot], len(self.bed.groups[slot]) + 1, count)[slot][-1]
        number = self.bed.ledger.next_number()
        with self.bed.router() as router:
            self.bed.ledger.accounts += open_accounts(router, [account])
            with router.connection(account) as connection:
                connection.execute(INSERT, {"account": account, "number": number})
        self.bed.ledger.note_rows([(account, number)])
        return account, number

    # Movers

    def start(self, failpoint: str | None = None) -> MoverProcess:
        """Start another mover; it is ``self.mover`` from now on."""
        self.mover = self._start(self.bed, self.number, failpoint=failpoint)
        return self.mover

    def wait_free(self) -> None:
        """Wait until the lease of a mover that has died is over."""
        eventually(lambda: self.bed.is_free(self.number), LEASE_SECONDS)

    def run_to(self, failpoint: str) -> MoverProcess:
        """Start a mover and wait until it is frozen at the failpoint."""
        self.wait_free()
        mover = self.start(f"{failpoint}:freeze")
        mover.wait_frozen()
        return mover

    def die_at(self, failpoint: str) -> None:
        """Start a mover and wait until it has died at the failpoint."""
        self.wait_free()
        self.start(f"{failpoint}:exit").wait_dead()

    def soak(self) -> None:
        """Bring the move over and let a mover die that keeps it soaking."""
        self.bed.set_soak(self.number, 3600.0)
        mover = self.start()
        eventually(lambda: self.move().state is MoveState.SOAKING, FINISH_SECONDS)
        mover.kill()

    def move(self) -> Move:
        return self.bed.move(self.number)

    def finish(self, answer: Wish = Wish.RETRY) -> Move:
        """Let movers carry on, one after the other, until the move is over.

        answer: what an operator says when a mover asks for attention.
        """
        began = time.monotonic()
        deadline = began + FINISH_SECONDS * PATIENCE
        for _ in range(MOST_MOVERS):
            if self.mover is None or not self.mover.is_running:
                self.wait_free()
                self.start()
            assert self.mover is not None
            self._wait(self.mover, deadline - time.monotonic())
            move = self.move()
            if move.is_over:
                self.finished_after_seconds = time.monotonic() - began
                return move
            if move.attention is not None:
                self.attention.append(move.attention)
                self.wish(answer)
        raise AssertionError(
            f"after {MOST_MOVERS} movers move {self.number} is {move.state},"
            f" attention {move.attention!r}\n{self.logs()}"
        )

    def _wait(self, mover: MoverProcess, seconds: float) -> None:
        try:
            mover.wait(max(1.0, seconds) / PATIENCE)
        except AssertionError as error:
            move = self.move()
            raise AssertionError(f"in {move.state}, {dict(move.progress)}: {error}") from None

    def wish(self, wish: Wish) -> None:
        self.bed.moves.wish(self.number, wish, actor="tests", reason="a test")

    def logs(self) -> str:
        """Return what the movers logged last."""
        texts = sorted(self.bed.folder.glob("mover*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in texts)

    def goes_well_again(self, door: str) -> bool:
        """True when a client of the door has done something since its last failure."""
        failures = [failure.at for failure in self.bed.ledger.failures if failure.door == door]
        return not failures or self.bed.ledger.done_at.get(door, 0.0) > max(failures)

    # Judgement

    def check(self, *, may_fail: bool, state: MoveState = MoveState.DONE) -> None:
        """Assert that the move is over as it should be and that everything is as it must be."""
        move = self.move()
        assert move.state is state, f"{move.state}: {move.reason}\n{self.logs()}"
        self.bed.wait_clean()
        owner = "s1" if state is MoveState.DONE else "s0"
        owners = {self.bed.topology.owners[slot] for slot in self.slots}
        assert owners == {owner}
        if not may_fail and self.bed.ledger.failures:
            raise AssertionError("\n".join(["", *map(str, self.bed.ledger.failures)]))

    @contextmanager
    def noted(
        self, record: Callable[[str, object], None], phase: str, fault: str
    ) -> Iterator[None]:
        """Put the line of this fault into the matrix, whatever comes of it."""
        try:
            yield
        finally:
            record(PROPERTY, self._row(phase, fault))

    def _row(self, phase: str, fault: str) -> dict[str, Any]:
        move, ledger = self.move(), self.bed.ledger
        state = f"{move.state}, asked" if self.attention else str(move.state)
        waited = move.pause_seconds
        return {
            "order": ORDER.index(phase.partition(".")[0]),
            "phase": phase,
            "fault": fault,
            "outcome": state if move.attempt == 1 else f"{state}, attempt {move.attempt}",
            "over after": f"{self.finished_after_seconds:.1f} s",
            "writers waited": "" if waited is None else f"{waited * 1000:.0f} ms",
            "statements": ledger.total_done,
            "failed": len(ledger.failures),
            "longest": f"{ledger.longest_seconds * 1000:.0f} ms",
        }
