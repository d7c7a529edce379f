"""PREPARING: tell routers, lock the schema, publish the rows. The copy begins after this."""

import logging
from typing import Final

from shardrouter.postgres.moving import lock_schema
from shardrouter.rebalance.copying.streams import make_publication, make_slot
from shardrouter.rebalance.cutover.motions import is_in, with_foreign_rows_on_target
from shardrouter.rebalance.cutover.routers import wait_for_routers
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.preflight import identity
from shardrouter.rebalance.preflight.check import require_fit
from shardrouter.topology import Direction, Motion, MoveState

logger = logging.getLogger(__name__)

SCHEMA_LOCK: Final = "schema_lock"
FILLED: Final = "filled"
"""The fact that rows of the slots on the target are ours: it had none when the move began."""


def prepare(job: Job) -> None:
    """Make everything the copy needs. Raises MoveRefused when the shards are not fit any more."""
    _note_attempt(job)
    _announce(job)
    job.failpoint("preparing.announced")
    _lock_tables(job)
    job.failpoint("preparing.locked")
    require_fit(job, is_target_empty=True)  # under the lock: from here on the tables stay the same
    if not job.facts.get(FILLED):
        job.note(**{FILLED: True})
    make_publication(job, Direction.FORWARD)
    job.failpoint("preparing.published")
    if job.move.copy_mode == "safe":  # a fast copy makes its slot together with its snapshot
        make_slot(job, Direction.FORWARD)
        job.failpoint("preparing.slot_made")
    job.advance(MoveState.COPYING, reason="locks, publication and replication slot are made")


def _note_attempt(job: Job) -> None:
    """Note between which servers, and for which tables, this attempt runs."""
    source, target = job.session(job.move.source), job.session(job.move.target)
    job.load()
    facts = {
        identity.FACT: identity.identities_fact(source, target),
        "tables": [table.full_name for table in job.tables()],
    }
    if any(job.facts.get(name) != value for name, value in facts.items()):
        kept = {k: v for k, v in job.facts.items() if k not in ("verify", "fence", "orphans")}
        job.amend(facts={**kept, **facts})


def _announce(job: Job) -> None:
    """Have routers leave the target's foreign rows out of gathers, before there are any."""
    move = job.move
    if not is_in(job.load(), move, Motion.COPYING, move.source):
        job.publish(
            lambda topology: with_foreign_rows_on_target(topology, move),
            reason=f"{move.target} is going to hold rows of {len(move.slots)} slots",
        )
    wait_for_routers(job, job.move.epoch, writers=False)


def _lock_tables(job: Job) -> None:
    move = job.move
    for shard in (move.source, move.target):
        job.record(shard, SCHEMA_LOCK, f"move {move.number}")
        is_whole = lock_schema(
            job.on(shard), job.tables(), move.slots, job.topology.slots,
            move=move.number, token=move.token, sleep=job.tools.sleep,
            is_paced=move.copy_mode == "safe" and shard == move.target,
        )  # fmt: skip
        if not is_whole:
            logger.warning(
                "move_ddl_not_refused move=%d shard=%s epoch=%d"
                " reason='the role may not make event triggers; a change is noticed later'",
                move.number, shard, job.topology.epoch,
            )  # fmt: skip
