"""CATCHING_UP: wait until the target is close behind, then let its planner know the new rows."""

from typing import Final

from shardrouter.postgres.moving import analyze, has_marker, slot_state, write_marker
from shardrouter.rebalance.copying.conflicts import describe_conflicts
from shardrouter.rebalance.copying.streams import (
    end_first_copies,
    from_shard,
    require_first_copies,
    revive,
    stream_state,
    to_shard,
)
from shardrouter.rebalance.job import POLL_SECONDS, Job
from shardrouter.rebalance.sessions import patient
from shardrouter.rebalance.troubles import NeedsOperator, StreamLost
from shardrouter.topology import Direction, MoveState

KB: Final = 1024
MARKER_POLL_SECONDS: Final = 0.005
LOOK_EVERY_SECONDS: Final = 0.25  # whether a stream that is waited for still runs
CLOSE_SECONDS: Final = 0.5  # a marker that arrives within this proves the target close behind


def catch_up(job: Job) -> None:
    """Go on when a marker arrives soon and little WAL is left. Raises StreamLost, NeedsOperator."""
    end_first_copies(job)
    wait_until_close(job)
    with job.write(job.move.target) as connection, patient(connection):
        analyze(connection, job.tables())
    job.failpoint("catching_up.caught_up")
    job.advance(MoveState.VERIFYING, reason=f"{job.move.target} is close behind")


def wait_until_close(job: Job, close_seconds: float = CLOSE_SECONDS) -> None:
    """Send markers until one arrives within the time, with less lag than the settings allow.

    On a strained machine none may arrive so soon: the time grows to CLOSE_SECONDS.
    """
    while True:
        sent_at = job.clock()
        send_marker(job, "catching up")
        is_soon = job.clock() - sent_at <= close_seconds
        if is_soon and lag_bytes(job) <= job.settings.max_lag_kb * KB:
            return
        close_seconds = min(CLOSE_SECONDS, close_seconds * 1.05)
        job.pause(POLL_SECONDS, f"the stream: {job.progress['lag_bytes']} bytes behind")


def send_marker(job: Job, note: str) -> int:
    """Write a marker on the losing shard, wait until it is on the gaining one; return it."""
    move = job.move
    with job.write(move.losing) as connection:
        marker = write_marker(connection, move.number, move.attempt, move.direction, note)
    job.failpoint("catching_up.marked")
    await_marker(job, marker, MARKER_POLL_SECONDS)
    return marker


def await_marker(
    job: Job, marker: int, poll_seconds: float, deadline_seconds: float | None = None
) -> bool:
    """Wait until a marker has arrived; False when the deadline passes first."""
    move = job.move
    look_at = job.clock() + LOOK_EVERY_SECONDS

    def has_arrived() -> bool:
        nonlocal look_at
        with job.ask(move.gaining) as connection:
            if has_marker(connection, move.number, move.attempt, move.direction, marker):
                job.revivals = 0
                return True
        if job.clock() >= look_at:
            require_running(job)
            look_at = job.clock() + LOOK_EVERY_SECONDS
        return False

    return job.await_that(
        has_arrived,
        poll_seconds=poll_seconds,
        deadline_seconds=deadline_seconds,
        waits_for="the stream",
    )


def require_running(job: Job) -> None:
    """Revive a stream that stopped, as it does when the publisher restarts.

    Raises NeedsOperator when it stops again and again, StreamLost when it is lost.
    """
    direction = job.move.direction
    state = stream_state(job, direction)
    if direction is Direction.FORWARD:
        require_first_copies(job, state)
    if state.enabled:
        return
    lag_bytes(job)
    if not revive(job, direction):
        raise NeedsOperator(
            f"the subscription {job.name(direction)} stops at an error: {describe_conflicts(job)}",
            shard=to_shard(job, direction),
            hint="mend it, then `shardrouter rebalance resume`; the server's log has its words",
        )


def lag_bytes(job: Job) -> int:
    """Return how much WAL the other side has not confirmed, and note it. Raises StreamLost."""
    shard, name = from_shard(job, job.move.direction), job.name(job.move.direction)
    with job.ask(shard) as connection:
        state = slot_state(connection, name)
    if not state.exists or state.invalidation is not None:
        raise StreamLost(
            f"the replication slot {name} is {state.invalidation or 'gone'}",
            shard=shard,
            hint="nothing is to be done: the rows are copied again",
        )
    job.progress["lag_bytes"] = state.lag_bytes
    job.progress["retained_bytes"] = state.retained_bytes
    return state.lag_bytes
