"""Names of what a move makes on shards: exact, so that nobody else's is ever taken for ours.

Several fleets may share a server, and replication slots belong to the server, not to a database:
so a name tells the fleet, the move and the attempt.
"""

from uuid import UUID

from shardrouter.topology.move import Direction


def artefact_name(fleet: UUID, move: int, attempt: int, direction: Direction) -> str:
    """Return the name of the replication slot, publication and subscription of one direction.

    ``sr_<8 hex digits of the fleet>_<move>_<attempt>_<f|r>``: a valid replication slot name.
    """
    suffix = "f" if direction is Direction.FORWARD else "r"
    return f"sr_{fleet.hex[:8]}_{move}_{attempt}_{suffix}"


def cleaning_origin_name(fleet: UUID, move: int) -> str:
    """Return the name of the replication origin under which a move deletes its copies."""
    return f"sr_{fleet.hex[:8]}_{move}_clean"


def session_name(move: int, token: int) -> str:
    """Return the application_name of a mover's sessions; ``end_other_sessions`` reads it."""
    return f"shardrouter-move-{move}-{token}"
