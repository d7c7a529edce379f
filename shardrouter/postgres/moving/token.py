"""The fencing token of a move on a shard: a mover that was replaced can do nothing any more.

The token stands on the shard itself. Every transaction of a step reads it under a lock that a
successor has to wait for, so that after ``take_token`` no step of an earlier mover is under way.
"""

from typing import Any, Final

from sqlalchemy import Connection, exc, text

from shardrouter.errors import MoveTakenOver
from shardrouter.postgres.locks import LOCK_NOT_AVAILABLE
from shardrouter.postgres.moving.limits import limit_waits, sqlstate_of

_FIRST_WAIT_SECONDS: Final = 0.5  # for a step of the earlier mover that is about to end by itself
_WAIT_SECONDS: Final = 5.0
_END_MS: Final = 5000  # for a terminated session to be gone


def take_token(connection: Connection, move: int, token: int) -> None:
    """Make this the token of the move here, and end the sessions of movers with earlier ones.

    Runs transactions of its own; the connection has none open. Repeatable with the same token.
    Raises MoveTakenOver when a later token stands there.
    """
    try:
        _raise_token(connection, move, token, _FIRST_WAIT_SECONDS)
    except exc.OperationalError as error:
        if sqlstate_of(error) != LOCK_NOT_AVAILABLE:
            raise
        _end_earlier(connection, move, token)
        _raise_token(connection, move, token, _WAIT_SECONDS)
    _end_earlier(connection, move, token)


def check_token(connection: Connection, move: int, token: int) -> None:
    """Be sure, until the caller's transaction ends, that nobody takes the move over.

    Raises MoveTakenOver.
    """
    _compare(connection.execute(_HOLD, {"move": move}).scalar_one_or_none(), move, token)


def see_token(connection: Connection, move: int, token: int) -> None:
    """The same without a lock: for what must not have a transaction id. Raises MoveTakenOver."""
    _compare(connection.execute(_SEE, {"move": move}).scalar_one_or_none(), move, token)


def drop_token(connection: Connection, move: int) -> None:
    """Forget all that the move's tables hold of it, in the caller's transaction.

    For a move that is over: steps of old movers find no token and stop.
    """
    for statement in _FORGET:
        connection.execute(statement, {"move": move})


def give_token_back(connection: Connection, move: int, token: int) -> None:
    """Forget the token that this mover took although the move is not its own any more."""
    with connection.begin():
        connection.execute(_GIVE_BACK, {"move": move, "token": token})


def end_other_sessions(connection: Connection, move: int, token: int) -> int:
    """End sessions of movers of this move, in this database, that have an earlier token.

    Returns how many. Known by their application_name, see ``session_name``.
    """
    given = {"pattern": f"^shardrouter-move-{move}-([0-9]{{1,18}})$", "token": token}
    ended = connection.execute(_END, {**given, "wait": _END_MS}).all()
    return sum(1 for row in ended if row.ended)


def _raise_token(connection: Connection, move: int, token: int, wait_seconds: float) -> None:
    given: dict[str, Any] = {"move": move, "token": token}
    with connection.begin():
        limit_waits(connection, lock_seconds=wait_seconds)
        if connection.execute(_TAKE, given).first() is None:
            standing = connection.execute(_SEE, {"move": move}).scalar_one_or_none()
            _compare(standing, move, token)


def _end_earlier(connection: Connection, move: int, token: int) -> None:
    with connection.begin():
        end_other_sessions(connection, move, token)


def _compare(standing: int | None, move: int, token: int) -> None:
    if standing == token:
        return
    if standing is None:
        raise MoveTakenOver(
            f"move {move} is over, or has not begun, on this shard",
            hint=f"see where it stands: `shardrouter move show {move}`",
        )
    raise MoveTakenOver(
        f"another process carries move {move} on (its token is {standing}, ours {token})",
        hint=f"nothing is to be done here: `shardrouter move show {move}` names the process",
    )


_TAKE: Final = text(
    """
INSERT INTO shardrouter.move AS standing (move, token) VALUES (:move, :token)
ON CONFLICT (move) DO UPDATE SET token = excluded.token, taken_at = pg_catalog.clock_timestamp()
 WHERE standing.token <= excluded.token
RETURNING token
"""
)
# A key-share lock would let an UPDATE of the token pass.
_HOLD: Final = text("SELECT token FROM shardrouter.move WHERE move = :move FOR SHARE")
_SEE: Final = text("SELECT token FROM shardrouter.move WHERE move = :move")
_FORGET: Final = tuple(
    text(f"DELETE FROM shardrouter.{table} WHERE move = :move")
    for table in ("move_marker", "move_chunk", "move_pace", "move")
)
_GIVE_BACK: Final = text("DELETE FROM shardrouter.move WHERE move = :move AND token = :token")
_END: Final = text(
    """
SELECT pg_catalog.pg_terminate_backend(pid, :wait) AS ended
  FROM (SELECT pid, substring(application_name from :pattern)::bigint AS token
          FROM pg_catalog.pg_stat_activity
         WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid()
        OFFSET 0) AS sessions
 WHERE token < :token
"""
)
