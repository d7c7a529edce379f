"""Run jobs of several steps side by side, each in a thread."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

Job = Iterable[Callable[[], object]]
"""Steps to do one after another."""


def run_jobs(jobs: Sequence[Job]) -> None:
    """Run the jobs at once and return when all are done.

    The first error, or an interrupt, ends each of the others after the step it is in, and is
    raised when they have ended. Steps have deadlines of their own.
    """
    if not jobs:
        return
    is_over = threading.Event()

    def run(job: Job) -> None:
        for step in job:
            if is_over.is_set():
                return
            try:
                step()
            except BaseException:
                is_over.set()
                raise

    with ThreadPoolExecutor(len(jobs), thread_name_prefix="shardrouter-fleet") as pool:
        try:
            for done in [pool.submit(run, job) for job in jobs]:
                done.result()
        finally:
            is_over.set()
