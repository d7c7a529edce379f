"""Rows of moves: how they are locked, changed and read, within the caller's transaction."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Insert, Row, Select, Update, case, func, null, select, update

from shardrouter.catalog.move_records import Artefact, Move
from shardrouter.catalog.move_schema import moves
from shardrouter.errors import MoveBusy, MoveTakenOver, UnknownMove
from shardrouter.topology import Direction, Epoch, MoveState, ShardId, Slot, Wish, may_wish

M: Final = moves.c
NOW: Final = func.clock_timestamp()

CHANGEABLE: Final = frozenset(
    {
        "attempt",
        "attention",
        "copy_mode",
        "cutover_at",
        "cutovers",
        "direction",
        "epoch",
        "facts",
        "held",
        "pause_seconds",
        "progress",
        "soak_seconds",
        "wish",
    }
)
"""What the owner of a move may change. ``wish`` only to None: obeyed."""

_READ: Final = (
    *(column for column in moves.c if column is not M.slots),
    func.extract("epoch", NOW - M.state_at).label("state_age_seconds"),
    func.extract("epoch", M.owner_expires_at - NOW).label("lease_seconds_left"),
)


def seconds(count: float) -> Any:
    """Return an interval."""
    return func.make_interval(0, 0, 0, 0, 0, 0, count)


def reading() -> Select[Any]:
    """Return the query of all that ``move_from`` reads."""
    return select(*_READ, M.slots)


def changing(number: int, values: Mapping[str, Any]) -> Update:
    """Return the statement that changes a move."""
    return update(moves).where(M.number == number).values(**values)


def change(connection: Connection, found: Move, values: Mapping[str, Any], *beside: Insert) -> Move:
    """Change a move that the transaction has locked. beside: done in the same journey."""
    changed = changing(found.number, values).returning(*_READ)
    changed = changed.add_cte(*(statement.cte() for statement in beside))
    return move_from(connection.execute(changed).one(), found.slots)


def locked(connection: Connection, number: int, slots: tuple[Slot, ...] | None = None) -> Move:
    """Return the move, and let nobody else change it until the transaction ends.

    slots: of the move, where they are known; they are many, and never change.
    """
    query = reading() if slots is None else select(*_READ)
    row = connection.execute(query.where(M.number == number).with_for_update()).one_or_none()
    if row is None:
        raise unknown(number)
    return move_from(row, slots)


def held_by(connection: Connection, move: Move) -> Move:
    """Return the locked move if ``move`` is of its owner still. Raises MoveTakenOver."""
    found = locked(connection, move.number, move.slots)
    if (found.token, found.owner) != (move.token, move.owner) or found.owner is None:
        raise _taken_over(found, move)
    return found


def held_in_state(connection: Connection, move: Move) -> Move:
    """The same, and nobody has brought it on from the state that ``move`` shows."""
    found = held_by(connection, move)
    if found.state is not move.state:
        raise MoveTakenOver(
            f"move {move.number} is {found.state}, and not {move.state} any more",
            hint="this process went on with it elsewhere: load the move again",
        )
    return found


def values_of(move: Move, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that the owner's changes write. Raises ValueError for other names."""
    strangers = changes.keys() - CHANGEABLE
    if strangers or changes.get("wish") is not None:
        raise ValueError(f"a mover cannot set {', '.join(sorted(strangers)) or 'a wish'}")
    values = {"updated_at": NOW, **changes}
    if "direction" in changes:
        values["direction"] = Direction(changes["direction"]).value
    if "wish" in changes:
        # Race: only the wish that was obeyed is cleared, not one that came since.
        seen = M.wished_at.is_not_distinct_from(move.wished_at)
        for column in (M.wish, M.wished_at, M.wished_by, M.wish_reason):
            values[column.name] = case((seen, null()), else_=column)
    return values


def state_values(found: Move, to: MoveState, direction: Direction) -> tuple[dict[str, Any], str]:
    """Return the columns that a step to the next state writes, and the wish it came too late for.

    A wish never undoes a step: one that the new state cannot fulfil is dropped.
    """
    values: dict[str, Any] = {"state": to.value, "state_at": NOW}
    if to is MoveState.COMMITTED:
        values["cutover_at"] = NOW
    if found.wish is None or may_wish(found.wish, to, direction):
        return values, ""
    none = dict.fromkeys(("wish", "wished_at", "wished_by", "wish_reason"))
    return {**values, **none}, found.wish.value


def move_from(row: Row[Any], slots: tuple[Slot, ...] | None = None) -> Move:
    """Return the move of a row that ``reading`` asked for, but for ``slots`` that are known."""
    values = dict(row._mapping)
    left = values["lease_seconds_left"]
    return Move(
        **{
            **values,
            "slots": tuple(row.slots) if slots is None else slots,
            "source": ShardId(row.source),
            "target": ShardId(row.target),
            "state": MoveState(row.state),
            "direction": Direction(row.direction),
            "wish": None if row.wish is None else Wish(row.wish),
            "epoch": Epoch(row.epoch),
            "state_age_seconds": float(row.state_age_seconds),
            "lease_seconds_left": 0.0 if left is None else max(0.0, float(left)),
        }
    )


def artefact_from(row: Row[Any]) -> Artefact:
    """Return the artefact of a row."""
    return Artefact(row.move, ShardId(row.shard), row.kind, row.name, row.recorded_at)


def unknown(number: int) -> UnknownMove:
    """Return the error of a number that no move has."""
    return UnknownMove(
        f"there is no move {number}", hint="list the moves with `shardrouter move list`"
    )


def busy(found: Move) -> MoveBusy:
    """Return the error of a move that another process carries out."""
    return MoveBusy(
        f"{found.owner} carries move {found.number} out, until {found.owner_expires_at:%F %T%z}"
        f" at least ({found.lease_seconds_left:.1f} s from now)",
        hint=f"watch it with `shardrouter move show {found.number}`; when that process has died,"
        " try again after that time",
    )


def _taken_over(found: Move, move: Move) -> MoveTakenOver:
    now = "is nobody's now" if found.owner is None else f"was taken over by {found.owner}"
    return MoveTakenOver(
        f"move {move.number} {now} (token {found.token}, this process had {move.token})",
        hint=f"nothing to do here: see `shardrouter move show {move.number}`",
    )
