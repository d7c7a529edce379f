"""Jobs side by side, and how they end."""

import itertools
import threading

import pytest

from shardrouter.local.parallel import run_jobs


def test_steps_run_in_order_and_jobs_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=5)
    done: list[str] = []
    run_jobs(
        [
            [meeting.wait, lambda: done.append("a1"), lambda: done.append("a2")],
            [meeting.wait, lambda: done.append("b1")],
        ]
    )
    assert sorted(done) == ["a1", "a2", "b1"]
    assert done.index("a1") < done.index("a2")


def test_first_error_is_raised_and_ends_the_others_after_their_step() -> None:
    def fail() -> None:
        raise OSError("disk full")

    endless = itertools.repeat(threading.get_ident)
    with pytest.raises(OSError, match="disk full"):
        run_jobs([endless, [fail]])


def test_no_jobs_is_no_work() -> None:
    run_jobs([])
