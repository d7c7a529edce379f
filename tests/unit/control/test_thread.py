"""The control thread: calls, loops that are kept, stopping."""

import asyncio
import threading

import pytest

from shardrouter.control import ControlThread
from shardrouter.errors import RouterClosed, ShardRouterError


def test_calls_run_on_one_other_thread() -> None:
    thread = ControlThread()
    thread.start()

    async def where() -> str:
        return threading.current_thread().name

    try:
        assert thread.is_running
        assert thread.call(where()) == "shardrouter-control"
    finally:
        thread.stop()
    assert not thread.is_running


def test_errors_reach_the_caller() -> None:
    thread = ControlThread()
    thread.start()

    async def fail() -> None:
        raise ShardRouterError("no")

    async def time_out() -> None:
        raise TimeoutError

    async def hang() -> None:
        await asyncio.Event().wait()

    try:
        with pytest.raises(ShardRouterError, match="no"):
            thread.call(fail())
        with pytest.raises(TimeoutError):
            thread.call(time_out())
        with pytest.raises(ShardRouterError, match=r"did not answer within 0\.01 s"):
            thread.call(hang(), timeout_seconds=0.01)
    finally:
        thread.stop()


def test_stop_lets_loops_clean_up_and_is_idempotent() -> None:
    thread = ControlThread()
    thread.start()
    started, cleaned = threading.Event(), threading.Event()

    async def loop() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    thread.keep(loop, name="loop")
    assert started.wait(5)
    thread.stop()
    assert cleaned.is_set()
    thread.stop()


@pytest.mark.parametrize("was_started", [True, False])
def test_nothing_runs_after_stop_or_before_start(was_started: bool) -> None:
    thread = ControlThread()
    if was_started:
        thread.start()
        thread.stop()

    async def never() -> None:
        raise AssertionError

    with pytest.raises(RouterClosed):
        thread.call(never())
    with pytest.raises(RouterClosed):
        thread.keep(never, name="never")
