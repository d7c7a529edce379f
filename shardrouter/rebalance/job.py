"""One move as one process carries it out: the row, the connections, and ways to write and wait.

Steps are functions of a Job. Whatever they write on a shard goes through ``write``, whatever they
write into the catalog through ``advance``, ``amend`` and ``publish``: each checks the token.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection

from shardrouter.catalog import CatalogStore, Move, MoveStore
from shardrouter.config import RebalanceSettings
from shardrouter.errors import MoveTakenOver, StaleEpoch
from shardrouter.postgres import autocommit, sharded_tables
from shardrouter.postgres.moving import (
    artefact_name,
    check_token,
    give_token_back,
    install_move_tables,
    session_name,
    take_token,
)
from shardrouter.rebalance.failpoints import Failpoints
from shardrouter.rebalance.preflight.identity import check_identity
from shardrouter.rebalance.running.limits import limits_of
from shardrouter.rebalance.running.renewal import Renewal
from shardrouter.rebalance.sessions import (
    ANSWER_SECONDS,
    CUTOVER_ANSWER_SECONDS,
    Session,
    Sessions,
    close,
    set_deadline,
)
from shardrouter.topology import (
    CUTTING_OVER,
    Direction,
    MoveState,
    ShardId,
    Table,
    Topology,
    Wish,
    may_wish,
)

logger = logging.getLogger(__name__)

PUBLISH_ATTEMPTS: Final = 20  # somebody else's change must come in between each time
SHOW_EVERY_SECONDS: Final = 0.2
WATCH_EVERY_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.05  # where nobody waits
POLL_CUTOVER_SECONDS: Final = 0.002  # where writers wait

_INTERRUPTING: Final = frozenset({Wish.HOLD, Wish.ABORT, Wish.REVERSE, Wish.FINISH})


class Interrupted(Exception):
    """An operator wishes something that the step must give way to."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What moves are carried out with."""

    settings: RebalanceSettings
    connect_timeout_seconds: float
    store: MoveStore
    catalog: CatalogStore
    owner: str
    clock: Callable[[], float]
    """Monotonic seconds."""

    sleep: Callable[[float], None]
    failpoint: Failpoints
    on_progress: Callable[[Move, Mapping[str, Any]], None]


class Job:
    """A move that was claimed."""

    heeds_wishes = True
    """False while it only looks: a wish is for who carries the move out, and stays for him."""

    def __init__(
        self, tools: Tools, move: Move, watch: Callable[["Job"], None] = lambda job: None
    ) -> None:
        """watch: called now and then while steps wait, outside of cutovers."""
        self.tools = tools
        self.move = move
        self.failpoint = tools.failpoint
        self.clock = tools.clock
        self.progress: dict[str, Any] = dict(move.progress)
        self.sessions = Sessions(
            session_name(move.number, move.token), tools.connect_timeout_seconds
        )
        self.topology = tools.catalog.load()
        self.paused_at: float | None = None
        """When this process sent the publication that makes writers wait."""

        self.stamps: dict[ShardId, str] = {}
        """Of the tables on each shard, see ``schemas``; empty when another process made them."""

        self.has_sequences = True
        """False when no column of the tables takes values from one."""

        self.drained_lsn: int | None = None
        """Behind all that arrived on the gaining shard; None when another process drained it."""

        self.revivals = 0
        """How often the stream was enabled again since a marker arrived."""

        self.retry_at = float("-inf")
        """When a cutover that was put off is tried again."""

        self._greeted: set[ShardId] = set()
        self._watch = watch
        self._watch_at = self._show_at = float("-inf")
        self.fleet = tools.catalog.fleet().id
        self._renewal = Renewal(
            tools.store,
            move,
            tools.settings.mover_lease_seconds,
            progress=lambda: dict(self.progress),
            is_urgent=lambda: self.paused_at is not None,
            clock=tools.clock,
        )
        self._renewal.start()

    def close(self) -> None:
        """End the lease's thread and the connections."""
        self._renewal.stop()
        self.sessions.close_all()

    # What the move is

    @property
    def settings(self) -> RebalanceSettings:
        """The settings, with what the operator changed for this move."""
        return limits_of(self.tools.settings, self._renewal.newest().limits)

    @property
    def facts(self) -> Mapping[str, Any]:
        return self.move.facts

    def tables(self) -> tuple[Table, ...]:
        """Return the tables that move: all sharded ones of the topology."""
        return sharded_tables(self.topology)

    def name(self, direction: Direction) -> str:
        """Return the name of a stream's publication, replication slot and subscription."""
        return artefact_name(self.fleet, self.move.number, self.move.attempt, direction)

    def load(self) -> Topology:
        """Return the newest topology."""
        self.topology = self.tools.catalog.load()
        return self.topology

    # Writing into the catalog

    def advance(self, to: MoveState, *, reason: str, **changes: Any) -> None:
        """Go into a state. Raises MoveTakenOver, CatalogUnavailable."""
        before = self.move.state
        progress = dict(self.progress)
        self._wrote(
            self.tools.store.advance(self.move, to, reason=reason, progress=progress, **changes)
        )
        self._log("move_state", before=before, state=to, reason=repr(reason))
        if to not in CUTTING_OVER:
            self._show()

    def amend(self, **changes: Any) -> None:
        """Change the row, not the state."""
        self._wrote(self.tools.store.amend(self.move, **changes))

    def _wrote(self, move: Move) -> None:
        self.move = move
        self._renewal.saw(move)

    def facts_with(self, **facts: Any) -> dict[str, Any]:
        """Return the facts with more of them."""
        return {**self.facts, **facts}

    def note(self, **facts: Any) -> None:
        """Add to what later steps rely on."""
        self.amend(facts=self.facts_with(**facts))

    def publish(
        self,
        make: Callable[[Topology], Topology],
        *,
        reason: str,
        to: MoveState | None = None,
        before: Callable[[Topology], None] = lambda topology: None,
        **changes: Any,
    ) -> Topology:
        """Publish ``make(newest topology)``, together with the state; return what was published.

        before: done with the new topology just before it is published, again when somebody else
        published first. Raises StaleEpoch when others always do.
        """
        for _ in range(PUBLISH_ATTEMPTS):
            current = self.topology  # the newest as far as we know: asking takes time
            try:
                new = make(current)
                before(new)
                self._wrote(
                    self.tools.store.publish(
                        self.move, to, new, expected=current.epoch, reason=reason, **changes
                    )
                )
            except StaleEpoch:
                self.load()
                continue
            self.topology = new
            self._log("move_published", state=self.move.state, reason=repr(reason))
            return new
        raise StaleEpoch(
            f"others published {PUBLISH_ATTEMPTS} times before move {self.move.number}"
        )

    def record(self, shard: ShardId, kind: str, name: str) -> None:
        """Note what is about to be made on a shard, so that it is removed whatever happens."""
        self.tools.store.record_artefact(self.move, shard, kind, name)

    def reload(self) -> None:
        """Read the row again after an answer of the catalog was lost. Raises MoveTakenOver."""
        found = self.tools.store.find(self.move.number)
        if found.token != self.move.token:
            raise MoveTakenOver(f"move {found.number} was taken over by {found.owner}")
        self.move = found
        self.load()

    # Writing on shards

    def on(self, shard: ShardId) -> Connection:
        """Return the connection to a shard's primary; it has no transaction open.

        A new one proves that the server is the one the stream was made on, takes the token and
        ends the sessions of earlier movers. Raises BackendUnreachable, NoPrimary, StreamLost,
        MoveTakenOver.
        """
        kept = self.sessions.kept(shard)
        if kept is None:
            kept = self.sessions.open(self.topology.shard(shard))
            self.sessions.keep(kept)
            self._greeted.discard(shard)
            check_identity(self.move, kept)
        if shard not in self._greeted and self.move.state is not MoveState.PLANNED:
            self._greet(kept)  # before, nothing may be changed
        is_urgent = self.move.state in CUTTING_OVER and self.move.state is not MoveState.COMMITTED
        set_deadline(kept.connection, CUTOVER_ANSWER_SECONDS if is_urgent else ANSWER_SECONDS)
        return kept.connection

    def session(self, shard: ShardId) -> Session:
        """Return the session that ``on`` gives the connection of."""
        self.on(shard)
        kept = self.sessions.kept(shard)
        assert kept is not None  # ``on`` has kept it
        return kept

    @contextmanager
    def extra(self, shard: ShardId) -> Iterator[Connection]:
        """Open one more connection for the block, for a thread of its own; see ``on``."""
        session = self.sessions.open(self.topology.shard(shard))
        try:
            check_identity(self.move, session)
            yield session.connection
        finally:
            close(session.connection)

    @contextmanager
    def write(self, shard: ShardId) -> Iterator[Connection]:
        """Open a transaction in which the token holds: a later mover waits for its end."""
        connection = self.on(shard)
        with connection.begin():
            check_token(connection, self.move.number, self.move.token)
            yield connection

    @contextmanager
    def read(self, shard: ShardId) -> Iterator[Connection]:
        """Open a transaction that only reads."""
        connection = self.on(shard)
        with connection.begin():
            yield connection

    @contextmanager
    def ask(self, shard: ShardId) -> Iterator[Connection]:
        """Let each statement be a transaction of its own: one journey each, for reads only."""
        connection = self.on(shard)
        with autocommit(connection):
            yield connection

    def _greet(self, session: Session) -> None:
        with session.connection.begin():
            install_move_tables(session.connection)
        take_token(session.connection, self.move.number, self.move.token)
        self._require_ours(session)
        self._greeted.add(session.shard)

    def _require_ours(self, session: Session) -> None:
        """Ask the catalog, now that a successor would find our token on the shard.

        Race: this process may have slept until its successor had ended, and left no token.
        """
        found = self.tools.store.find(self.move.number)
        if found.token == self.move.token and not found.is_over:
            return
        give_token_back(session.connection, self.move.number, self.move.token)
        raise MoveTakenOver(
            f"move {found.number} is {found.state}, and not ours any more"
            f" (its token is {found.token}, this process had {self.move.token})",
            shard=session.shard,
            epoch=self.topology.epoch,
            hint=f"nothing is to be done here: see `shardrouter move show {found.number}`",
        )

    # Waiting

    def tick(self, waits_for: str | None = None) -> None:
        """Show how far the move is; give way to another mover and to operators.

        Raises MoveTakenOver, and Interrupted outside of a cutover.
        """
        newest = self._renewal.newest()
        if waits_for is None:
            self.progress.pop("waits_for", None)
        else:
            self.progress["waits_for"] = waits_for
        if self.clock() >= self._show_at:
            self._show()
        if self.move.state in CUTTING_OVER:
            return
        if self.clock() >= self._watch_at:
            self._watch_at = self.clock() + WATCH_EVERY_SECONDS
            self._watch(self)
        wish = newest.wish if self.heeds_wishes else None
        if wish in _INTERRUPTING and may_wish(wish, self.move.state, self.move.direction):
            raise Interrupted

    def _show(self) -> None:
        self._show_at = self.clock() + SHOW_EVERY_SECONDS
        self.tools.on_progress(self.move, self.progress)

    def see_wish(self) -> Wish | None:
        """Return what an operator wishes now; ``amend(wish=None)`` then says it was obeyed."""
        newest = self._renewal.newest()
        self.move = replace(self.move, wish=newest.wish, wished_at=newest.wished_at)
        return newest.wish

    def age_seconds(self) -> float:
        """Return how long, by the catalog's clock, the move has been in its state; 0 at first."""
        newest = self._renewal.newest()
        return newest.state_age_seconds if newest.state is self.move.state else 0.0

    def pause(self, seconds: float, waits_for: str | None = None) -> None:
        """Sleep, with a tick before."""
        self.tick(waits_for)
        self.tools.sleep(seconds)

    def await_that(
        self,
        holds: Callable[[], bool],
        *,
        poll_seconds: float = POLL_SECONDS,
        deadline_seconds: float | None = None,
        waits_for: str | Callable[[], str] = "",
    ) -> bool:
        """Poll until ``holds``; False when the deadline passes first."""
        deadline = None if deadline_seconds is None else self.clock() + deadline_seconds
        while not holds():
            if deadline is not None and self.clock() >= deadline:
                return False
            self.pause(poll_seconds, waits_for() if callable(waits_for) else waits_for or None)
        self.progress.pop("waits_for", None)
        return True

    def _log(self, event: str, **values: Any) -> None:
        move = self.move
        rest = " ".join(f"{key}={value}" for key, value in values.items())
        logger.info(
            "%s move=%d source=%s target=%s epoch=%d %s",
            event, move.number, move.source, move.target, self.topology.epoch, rest,
        )  # fmt: skip
