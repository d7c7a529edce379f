"""The moves of slots: made, claimed by one process at a time, brought from state to state.

Invariants: one process at a time owns a move; its token grows with every claim, and a write with
an older token is refused. A slot is in one unfinished move at most. A step that changes owners of
slots takes place in the transaction that raises the epoch, or not at all.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import Connection, Engine, delete, exc, insert, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert

from shardrouter.catalog.connect import answering
from shardrouter.catalog.current import lock_fleet, make_durable, make_lazy, note, noting
from shardrouter.catalog.move_records import Artefact, Move, NewMove
from shardrouter.catalog.move_rows import (
    NOW,
    M,
    artefact_from,
    busy,
    change,
    changing,
    held_by,
    held_in_state,
    locked,
    move_from,
    reading,
    seconds,
    state_values,
    unknown,
    values_of,
)
from shardrouter.catalog.move_rules import check_new, check_wish
from shardrouter.catalog.move_schema import move_artefacts, moves
from shardrouter.errors import MoveError, MoveRefused
from shardrouter.topology import (
    OVER,
    Direction,
    Epoch,
    MoveState,
    ShardId,
    Topology,
    Wish,
    may_follow,
)

Moves = list[Move]  # by another name: inside MoveStore ``list`` is its method
Artefacts = list[Artefact]

_OVER: Final = sorted(state.value for state in OVER)
_a = move_artefacts.c


class Publish(Protocol):
    """``CatalogStore.publish``: the only place that raises the epoch."""

    def __call__(
        self,
        new: Topology,
        *,
        expected: Epoch,
        actor: str,
        reason: str,
        first: Callable[[Connection], object],
    ) -> None: ...


class MoveStore:
    """The moves in the catalog; ``CatalogStore.moves`` gives one. Threads may share it.

    Every method is one short transaction, and raises CatalogUnavailable, and SettingsError when
    no catalog is installed. A method that changes something looks again when its COMMIT broke;
    when it cannot, CatalogUnavailable may also mean "done": ``find`` tells.
    """

    def __init__(self, engine: Engine, publish: Publish) -> None:
        self._engine = engine
        self._publish = publish

    def create(self, new: NewMove, *, actor: str, reason: str) -> Move:
        """Write a move down. Raises MoveRefused when the topology or another move forbids it."""

        def work(connection: Connection) -> Move:
            lock_fleet(connection)  # nobody else makes a move, or publishes, meanwhile
            slots = [*check_new(connection, new)]
            row = {"run": new.run, "source": new.source, "target": new.target}
            made = (
                insert(moves)
                .values(slots=slots, actor=actor, reason=reason, **row)
                .values(copy_mode=new.copy_mode, soak_seconds=new.soak_seconds)
                .returning(M.number)
            )
            number = connection.execute(made).scalar_one()
            detail = {"move": number, "slots": len(slots), "from": new.source, "to": new.target}
            note(connection, actor, reason, "move_planned", detail)
            return locked(connection, number)

        return self._write(work)

    def find(self, number: int) -> Move:
        """Return the move of that number. Raises UnknownMove."""
        with answering(), self._engine.connect() as connection:
            row = connection.execute(reading().where(M.number == number)).one_or_none()
        if row is None:
            raise unknown(number)
        return move_from(row)

    def list(self, *, unfinished: bool = False, limit: int = 100) -> Moves:
        """Return moves, the newest first. unfinished: those that are not over, oldest first."""
        query = reading().order_by(M.number.desc()).limit(limit)
        if unfinished:
            query = reading().where(M.state.not_in(_OVER)).order_by(M.number).limit(limit)
        with answering(), self._engine.connect() as connection:
            return [move_from(row) for row in connection.execute(query)]

    def unattended(self, states: Collection[MoveState]) -> Moves:
        """Return moves in these states whose owner is gone, or silent past its lease."""
        names = [state.value for state in states]
        gone = or_(M.owner.is_(None), M.owner_expires_at < NOW)
        query = reading().where(M.state.in_(names), gone).order_by(M.number)
        with answering(), self._engine.connect() as connection:
            return [move_from(row) for row in connection.execute(query)]

    # By whoever carries a move out

    def claim(
        self, number: int, owner: str, lease_seconds: float, *, is_noted: bool = True
    ) -> Move:
        """Become the owner of a move: every other process is refused from now on.

        The token grows, also for an owner that claims its move again. is_noted: in the journal.
        Raises MoveBusy while another owner's lease holds by the catalog's clock, MoveRefused for
        a move that is over.
        """

        def work(connection: Connection) -> Move:
            found = locked(connection, number)
            if found.is_over:
                raise MoveRefused(f"move {number} is {found.state}", hint="there is nothing to do")
            free = or_(M.owner.is_(None), M.owner == owner, M.owner_expires_at < NOW)
            values = {"owner": owner, "token": M.token + 1, "updated_at": NOW}
            values["owner_expires_at"] = NOW + seconds(lease_seconds)
            taken = connection.execute(changing(number, values).where(free))
            if taken.rowcount != 1:
                raise busy(found)
            if is_noted:
                detail = {"move": number, "token": found.token + 1, "before": found.owner}
                note(connection, owner, f"in state {found.state}", "move_claimed", detail)
            return locked(connection, number, found.slots)

        return self._write(work)

    def renew(
        self, move: Move, lease_seconds: float, progress: Mapping[str, Any] | None = None
    ) -> Move:
        """Extend the owner's lease; return the move as it is now, with what operators wish.

        progress: instead of what was noted. Raises MoveTakenOver.
        """

        def work(connection: Connection) -> Move:
            found = held_by(connection, move)
            values: dict[str, Any] = {"owner_expires_at": NOW + seconds(lease_seconds)}
            noted = {} if progress is None else {"progress": dict(progress)}
            return change(connection, found, values | values_of(move, noted))

        # What a crash of the catalog forgets of this only lets another process claim it sooner.
        return self._write(work, durable=False)

    def release(self, move: Move, *, dead_since: datetime | None = None) -> None:
        """Give the move back, if it is ours still: another process may claim it at once.

        dead_since: as if we had died then. Routers go on with such a move by themselves.
        """
        mine = (M.token == move.token, M.owner == move.owner)
        owner = None if dead_since is None else move.owner
        values = {"owner": owner, "owner_expires_at": dead_since, "updated_at": NOW}
        with self._transaction() as connection:
            connection.execute(changing(move.number, values).where(*mine))

    def advance(self, move: Move, to: MoveState, *, reason: str, **changes: Any) -> Move:
        """Bring the move into its next state, and change what else is given.

        facts and progress are written whole. A wish that the new state cannot fulfil is dropped;
        the journal says so. Raises MoveTakenOver when ``move`` is not how it stands,
        MoveError for a step that the table of states does not have.
        """
        return self._write(lambda connection: _step(connection, move, to, reason, changes))

    def amend(self, move: Move, **changes: Any) -> Move:
        """Change what is given, in the same state. ``wish=None``: it was obeyed.

        Raises MoveTakenOver.
        """
        return self._write(lambda connection: _step(connection, move, None, "", changes))

    def publish(
        self,
        move: Move,
        to: MoveState | None,
        topology: Topology,
        *,
        expected: Epoch,
        reason: str,
        **changes: Any,
    ) -> Move:
        """Publish a topology and bring the move into its next state, both or neither.

        to: None when the state stays. Raises StaleEpoch, MoveTakenOver, MoveError, and
        CommitInDoubt, see ``CatalogStore.publish``.
        """
        made: list[Move] = []

        def first(connection: Connection) -> None:
            made.append(_step(connection, move, to, reason, {**changes, "epoch": topology.epoch}))

        actor = str(move.owner)
        self._publish(topology, expected=expected, actor=actor, reason=reason, first=first)
        return made[-1]

    def record_artefact(self, move: Move, shard: ShardId, kind: str, name: str) -> None:
        """Note what is about to be made on a shard. Raises MoveTakenOver."""
        row = {"move": move.number, "shard": shard, "kind": kind, "name": name}
        with self._transaction() as connection:
            held_by(connection, move)
            connection.execute(upsert(move_artefacts).values(**row).on_conflict_do_nothing())

    def artefacts(self, number: int) -> Artefacts:
        """Return what a move made, or was about to make, and has not removed; oldest first."""
        query = select(move_artefacts).where(_a.move == number)
        with answering(), self._engine.connect() as connection:
            rows = connection.execute(query.order_by(_a.recorded_at, _a.kind, _a.name))
            return [artefact_from(row) for row in rows]

    def forget_artefact(self, move: Move, artefact: Artefact) -> None:
        """Note that an artefact is gone. Raises MoveTakenOver."""
        this = delete(move_artefacts).where(_a.move == artefact.move, _a.shard == artefact.shard)
        with self._transaction() as connection:
            held_by(connection, move)
            connection.execute(this.where(_a.kind == artefact.kind, _a.name == artefact.name))

    # By operators

    def wish(self, number: int, wish: Wish, *, actor: str, reason: str) -> Move:
        """Note what an operator asks; whoever carries the move out obeys it, and clears it.

        The latest wish stands, but for one to abort, which nothing but a later state replaces.
        Raises UnknownMove, MoveRefused.
        """

        def work(connection: Connection) -> Move:
            found = locked(connection, number)
            check_wish(found, wish)
            values = {"wish": wish.value, "wished_at": NOW, "wished_by": actor}
            note(connection, actor, reason, "move_wish", {"move": number, "wish": wish.value})
            return change(connection, found, values | {"wish_reason": reason})

        return self._write(work, stamp="wished_at")

    def limit(self, number: int, limits: Mapping[str, Any], *, actor: str, reason: str) -> Move:
        """Change settings for one move; None takes a change back. The mover sees it within 1 s.

        The caller has checked names and values. Raises UnknownMove.
        """

        def work(connection: Connection) -> Move:
            found = locked(connection, number)
            changed = {**found.limits, **limits}
            now = {name: value for name, value in changed.items() if value is not None}
            note(connection, actor, reason, "move_limits", {"move": number, "limits": now})
            return change(connection, found, {"limits": now, "updated_at": NOW})

        return self._write(work)

    def _write(
        self,
        work: Callable[[Connection], Move],
        *,
        durable: bool = True,
        stamp: str = "updated_at",
    ) -> Move:
        """Do the work in a transaction; when its COMMIT breaks, see whether it took place.

        stamp: a time that the work sets anew.
        """
        with answering(), self._engine.connect() as connection:
            (make_durable if durable else make_lazy)(connection)
            made = work(connection)
            try:
                connection.commit()
            except exc.DBAPIError as error:
                if not error.connection_invalidated or not self._took_place(made, stamp):
                    raise
        return made

    def _took_place(self, made: Move, stamp: str) -> bool:
        written = (M.number == made.number, moves.c[stamp] == getattr(made, stamp))
        with self._engine.connect() as connection:
            return connection.scalar(select(M.number).where(*written)) is not None

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with answering(), self._engine.begin() as connection:
            make_durable(connection)
            yield connection


def _step(
    connection: Connection,
    move: Move,
    to: MoveState | None,
    reason: str,
    changes: Mapping[str, Any],
) -> Move:
    """Change a move of ours; ``to``: into that state, with an event in the journal."""
    found = held_in_state(connection, move)
    values = values_of(move, changes)
    if to is None:
        return change(connection, found, values)
    if not may_follow(move.state, to):
        raise MoveError(
            f"move {move.number} cannot go from {move.state} to {to}",
            hint="this is a bug in the mover: report it with the journal of the move",
        )
    direction = Direction(changes.get("direction", found.direction))
    stepped, dropped = state_values(found, to, direction)
    detail = {"move": move.number, "before": move.state.value, "token": move.token}
    detail |= {"wish_dropped": dropped} if dropped else {}
    event = noting(str(move.owner), reason, f"move_{to}", detail)
    return change(connection, found, values | stepped, event)
