"""Look at a move that nobody carries out: its replication slot keeps WAL all the same.

The limits are those of ``watch`` and ``soak``, and so is what follows from them.
"""

from shardrouter.rebalance.copying.streams import drop_streams
from shardrouter.rebalance.ending.soak import LOST, follow_failovers, look_at_reverse
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.reactions import react
from shardrouter.rebalance.troubles import LimitReached
from shardrouter.rebalance.watch import watch
from shardrouter.topology import Direction, MoveState


def give_up_when_full(job: Job) -> bool:
    """Look once; True when the move is to be aborted now, held or not.

    Everything else that is wrong is left to the mover that comes: an operator wants the move to
    rest, or has been asked already.
    """
    job.heeds_wishes = False
    _look(job)
    job.heeds_wishes = True
    return job.move.state is MoveState.ABORTING


def _look(job: Job) -> None:
    state = job.move.state
    if state is MoveState.SOAKING:
        follow_failovers(job)
    if state is MoveState.SOAKING or job.move.direction is Direction.BACK:
        look_at_reverse(job)
        if LOST in job.facts:
            drop_streams(job)  # an operator's hold may have interrupted who noted that
        return
    try:
        watch(job)
    except LimitReached as error:
        react(job, error)
