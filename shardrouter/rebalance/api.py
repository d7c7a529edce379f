"""Everything that can be done with moves, for the command and the library alike.

``Rebalance`` composes what the other files of this folder think and do. Its methods block.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

from shardrouter.catalog import CatalogStore, JournalEvent, Move, NewMove
from shardrouter.config import Settings
from shardrouter.errors import ShardRouterError
from shardrouter.rebalance.checking.verify_again import Verification, verify_again
from shardrouter.rebalance.dry_run import Statement, statements_of
from shardrouter.rebalance.loads import Survey, counted_loads, survey
from shardrouter.rebalance.planning.plan import (
    Batch,
    Measure,
    Proposal,
    Wanted,
    propose,
    propose_batch,
)
from shardrouter.rebalance.planning.price import price_batches
from shardrouter.rebalance.planning.priced_plan import RebalancePlan
from shardrouter.rebalance.planning.rates import rates_of
from shardrouter.rebalance.running.limits import ADJUSTABLE, with_limits
from shardrouter.rebalance.running.run_moves import Crew, OnProgress, Stop, ignore
from shardrouter.rebalance.running.status import MoveStatus
from shardrouter.topology import (
    Direction,
    MoveState,
    ShardId,
    Slot,
    Topology,
    Wish,
    may_wish,
)

MB: Final = 1024 * 1024
JOURNAL_LIMIT: Final = 5000  # events that are searched for the history of moves
MOVES_LIMIT: Final = 200


class Rebalance:
    """Plans and moves of one fleet."""

    def __init__(
        self,
        settings: Settings,
        store: CatalogStore,
        *,
        actor: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], UUID] = uuid4,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._store = store
        self._moves = store.moves()
        self._actor = actor
        self._now = now
        self._new_id = new_id
        self._clock = clock
        self._sleep = sleep

    # Plans

    def plan(
        self, wanted: Wanted | None = None, loads: Sequence[float] | None = None
    ) -> RebalancePlan:
        """Compare the shards with their weights and return the moves that make them even.

        loads: of each slot, for ``Measure.LOAD``; None: the queries that routers have counted.
        Reads every shard; changes nothing. Raises MoveRefused when a shard that is to take slots
        lacks tables or no router has counted any query, SettingsError when no shard can take any,
        BackendUnreachable, CatalogUnavailable.
        """
        wish = wanted or Wanted()
        topology = self._store.load()
        if wish.measure is Measure.LOAD and loads is None:
            loads = counted_loads(self._store.router_loads().total(), topology)
        found = self._survey(topology)
        if wish.measure is Measure.BYTES:
            loads = [float(size) for size in found.loads.bytes]
        proposal = propose(topology, wish, loads, self._underway())
        return self._priced(topology, wish.measure, proposal, found)

    def plan_by_hand(self, batch: Batch) -> RebalancePlan:
        """Return the plan of one move that an operator chose, with its price."""
        topology = self._store.load()
        found = self._survey(topology)
        return self._priced(topology, Measure.COUNT, propose_batch(topology, batch), found)

    def _survey(self, topology: Topology) -> Survey:
        disk = self._settings.rebalance.disk_mb
        return survey(
            topology,
            self._settings.pool.connect_timeout_seconds,
            None if disk is None else disk * MB,
            clock=self._clock,
            sleep=self._sleep,
        )

    def _underway(self) -> dict[Slot, ShardId]:
        """Return where the slots of unfinished moves will be."""
        return {
            slot: move.source if _returns(move) else move.target
            for move in self._moves.list(unfinished=True, limit=MOVES_LIMIT)
            for slot in move.slots
        }

    def _priced(
        self, topology: Topology, measure: Measure, proposal: Proposal, found: Survey
    ) -> RebalancePlan:
        for batch in proposal.batches:
            found.require_tables(batch.target)
        moves, events = self._moves.list(limit=MOVES_LIMIT), self._store.events(JOURNAL_LIMIT)
        rates = rates_of(moves, events, found.wal_bytes_per_second)
        prices = price_batches(proposal.batches, found.loads, rates, found.rooms)
        fleet = self._store.fleet().id
        return RebalancePlan.of(fleet, topology, self._now(), measure, proposal, rates, prices)

    def check(self, plan: RebalancePlan) -> None:
        """Raise StaleEpoch when the fleet changed since the plan was made."""
        fleet = self._store.fleet()
        plan.require_current(fleet.id, fleet.epoch)

    def statements(self, plan: RebalancePlan, *, soaks: bool) -> tuple[Statement, ...]:
        """Return the SQL that the moves of a plan would run, if nobody makes one before."""
        topology, fleet = self._store.load(), self._store.fleet().id
        number = max((move.number for move in self._moves.list(limit=1)), default=0)
        return tuple(
            statement
            for at, planned in enumerate(plan.moves, start=number + 1)
            for statement in statements_of(planned.batch, topology, fleet, at, soaks=soaks)
        )

    # Moves

    def create(
        self,
        plan: RebalancePlan,
        *,
        reason: str = "rebalance",
        soak_seconds: float | None = None,
    ) -> list[Move]:
        """Write the moves of a plan into the catalog; nothing moves yet.

        Raises StaleEpoch when the fleet changed since, MoveRefused when a slot moves already:
        then none of them stays.
        """
        self.check(plan)
        run = self._new_id()
        made: list[Move] = []
        try:
            for planned in plan.moves:
                new = self._new_move(planned.batch, run, soak_seconds)
                made.append(self._moves.create(new, actor=self._actor, reason=reason))
        except ShardRouterError:
            for move in made:
                self.abort(move.number, reason="another move of the plan was refused")
            self.run([move.number for move in made], keep_going=True)
            raise
        return made

    def _new_move(self, batch: Batch, run: UUID, soak_seconds: float | None) -> NewMove:
        rebalance = self._settings.rebalance
        return NewMove(
            slots=batch.slots,
            source=batch.source,
            target=batch.target,
            copy_mode=rebalance.copy_mode,
            soak_seconds=rebalance.soak_seconds if soak_seconds is None else soak_seconds,
            run=run,
        )

    def run(
        self,
        numbers: Sequence[int],
        *,
        jobs: int = 1,
        wait: bool = True,
        keep_going: bool = False,
        on_progress: OnProgress = ignore,
        stop: Stop | None = None,
    ) -> list[Move]:
        """Carry moves out in this process, in this order, ``jobs`` at a time; return them then.

        wait: also through the soak, else return when they soak. keep_going: begin the next move
        also after one that needs an operator or was given up. stop: set, it ends the work where
        no writer waits; the moves can be resumed. A move that needs attention or that an operator
        holds back is left as it is: look at the result. Raises MoveBusy, MoveTakenOver when
        another process carries one of them out.
        """
        crew = Crew(self._settings, self._store, self._actor, clock=self._clock, sleep=self._sleep)
        return crew.run(
            numbers,
            jobs=jobs,
            wait_soak=wait,
            keep_going=keep_going,
            on_progress=on_progress,
            stop=stop,
        )

    def apply(
        self,
        plan: RebalancePlan,
        *,
        jobs: int = 1,
        soak_seconds: float | None = None,
        reason: str = "rebalance",
        wait: bool = True,
        on_progress: OnProgress = ignore,
        stop: Stop | None = None,
    ) -> list[Move]:
        """Create the moves of a plan and carry them out: see ``create`` and ``run``."""
        made = self.create(plan, reason=reason, soak_seconds=soak_seconds)
        numbers = [move.number for move in made]
        return self.run(numbers, jobs=jobs, wait=wait, on_progress=on_progress, stop=stop)

    # Looking

    def move(self, number: int) -> MoveStatus:
        """Return how a move stands. Raises UnknownMove."""
        return MoveStatus(self._moves.find(number))

    def moves(self, *, unfinished: bool = False, limit: int = 100) -> list[MoveStatus]:
        """Return moves, the newest first; unfinished ones the oldest first."""
        return [MoveStatus(move) for move in self._moves.list(unfinished=unfinished, limit=limit)]

    def status(self) -> list[MoveStatus]:
        """Return the moves that are not over, the oldest first."""
        return self.moves(unfinished=True, limit=MOVES_LIMIT)

    def history(self, number: int) -> list[JournalEvent]:
        """Return what the journal still tells of a move, the oldest first."""
        events = self._store.events(JOURNAL_LIMIT)
        return [event for event in reversed(events) if event.detail.get("move") == number]

    def verify(self, number: int) -> Verification:
        """Compare the rows of a move on both sides, while its stream runs; change nothing.

        Raises MoveMismatch, MoveRefused in states without a stream, BackendUnreachable.
        """
        return verify_again(
            self._moves.find(number),
            self._store.load(),
            self._settings,
            sleep=self._sleep,
        )

    # Wishes

    def pause(self, *, reason: str = "rebalance pause") -> list[MoveStatus]:
        """Ask every unfinished move to rest where no writer waits for it."""
        return self._wish_all(Wish.HOLD, reason)

    def go_on(self, *, reason: str = "rebalance resume") -> list[MoveStatus]:
        """Ask moves that rest or need attention to go on; ``run`` then carries them out."""
        for status in self.status():
            wish = Wish.RETRY if status.move.attention is not None else Wish.GO_ON
            if wish is Wish.RETRY or status.move.held or status.move.wish is Wish.HOLD:
                self._moves.wish(status.number, wish, actor=self._actor, reason=reason)
        return self.status()

    def abort_all(self, *, reason: str = "rebalance abort") -> list[MoveStatus]:
        """Ask every move that may still be given up to do so; return those."""
        return self._wish_all(Wish.ABORT, reason)

    def abort(self, number: int, *, reason: str = "move abort") -> MoveStatus:
        """Ask a move to be given up, with the slots where they were. Raises MoveRefused."""
        return self._wish(number, Wish.ABORT, reason)

    def reverse(self, number: int, *, reason: str = "move reverse") -> MoveStatus:
        """Ask a soaking move to bring its slots back, without a copy. Raises MoveRefused."""
        return self._wish(number, Wish.REVERSE, reason)

    def finish(self, number: int, *, reason: str = "move finish") -> MoveStatus:
        """Ask a soaking move to soak no longer. Raises MoveRefused."""
        return self._wish(number, Wish.FINISH, reason)

    def limit(
        self, limits: Mapping[str, Any], *, reason: str = "rebalance limits"
    ) -> list[MoveStatus]:
        """Change limits of all unfinished moves while they run. None: as the settings say.

        Raises SettingsError for a wrong name or value.
        """
        strangers = dict.fromkeys(limits.keys() - ADJUSTABLE)
        set_now = {name: value for name, value in limits.items() if value is not None}
        with_limits(self._settings.rebalance, set_now | strangers)
        for status in self.status():
            self._moves.limit(status.number, limits, actor=self._actor, reason=reason)
        return self.status()

    def _wish(self, number: int, wish: Wish, reason: str) -> MoveStatus:
        return MoveStatus(self._moves.wish(number, wish, actor=self._actor, reason=reason))

    def _wish_all(self, wish: Wish, reason: str) -> list[MoveStatus]:
        able = [s for s in self.status() if may_wish(wish, s.state, s.move.direction)]
        return [self._wish(status.number, wish, reason) for status in able]


def _returns(move: Move) -> bool:
    """True when the slots of an unfinished move will be on the source in the end."""
    gives_up = move.wish is Wish.ABORT or move.state is MoveState.ABORTING
    return gives_up or (move.direction is Direction.BACK)
