"""Wait until routers have taken a topology and ended what began under an earlier one."""

from shardrouter.rebalance.job import POLL_CUTOVER_SECONDS, POLL_SECONDS, Job
from shardrouter.topology import Epoch


def wait_for_routers(
    job: Job,
    epoch: Epoch,
    *,
    writers: bool,
    deadline_seconds: float | None = None,
    poll_seconds: float = POLL_SECONDS,
) -> list[str]:
    """Wait until every living router serves the epoch and has drained; return who has not.

    writers: only writable work on paused slots matters, else also reads. A router that cannot
    answer stops by itself when its lease is over; then it is not waited for any more.
    """
    laggards: list[str] = []

    def all_drained() -> bool:
        laggards[:] = [
            f"{router.kind} {router.name}"
            for router in job.tools.catalog.routers()
            if router.epoch < epoch
            or (router.writers_drained_epoch if writers else router.drained_epoch) < epoch
        ]
        return not laggards

    job.await_that(
        all_drained,
        poll_seconds=poll_seconds,
        deadline_seconds=deadline_seconds,
        waits_for=lambda: f"routers: {', '.join(laggards)}",
    )
    return laggards


def await_served(job: Job, epoch: Epoch) -> None:
    """Wait until every living router goes by the epoch, while writers wait."""

    def all_served() -> bool:
        return all(router.epoch >= epoch for router in job.tools.catalog.routers())

    job.await_that(
        all_served,
        poll_seconds=POLL_CUTOVER_SECONDS,
        waits_for="routers that have not taken the commit yet",
    )
