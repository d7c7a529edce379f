"""Markers: rows that tell, once they have arrived, that all before them has arrived too.

What a subscription reports of its position does not advance over changes that the row filter
leaves out, and starts at zero after a restart: only a row of its own proves how far it is.
"""

from typing import Final

from sqlalchemy import Connection, text

from shardrouter.topology.move import Direction

_KEPT: Final = 32  # earlier markers; the mover waits for one or two at a time


def write_marker(
    connection: Connection, move: int, attempt: int, direction: Direction, note: str = ""
) -> int:
    """Write a marker in the caller's transaction on the losing shard; return its number.

    It arrives, with this transaction, on the side that the direction's stream feeds.
    """
    of = {"move": move, "attempt": attempt, "direction": direction.value}
    return int(connection.execute(_WRITE, {**of, "note": note, "kept": _KEPT}).scalar_one())


def has_marker(
    connection: Connection, move: int, attempt: int, direction: Direction, number: int
) -> bool:
    """True when the marker is there: asked on the gaining shard, that it has arrived."""
    of = {"move": move, "attempt": attempt, "direction": direction.value, "number": number}
    return bool(connection.execute(_HAS, of).scalar_one())


_OF_STREAM: Final = "move = :move AND attempt = :attempt AND direction = :direction"
_WRITE: Final = text(
    f"""
WITH written AS (
     INSERT INTO shardrouter.move_marker (move, attempt, direction, note)
     VALUES (:move, :attempt, :direction, :note) RETURNING number),
pruned AS (
     DELETE FROM shardrouter.move_marker
      WHERE {_OF_STREAM} AND number < (SELECT number - :kept FROM written))
SELECT number FROM written
"""
)
_HAS: Final = text(
    f"SELECT EXISTS (SELECT FROM shardrouter.move_marker WHERE {_OF_STREAM} AND number = :number)"
)
