"""Supervised loops come back, failures are told, and callbacks cannot break their caller."""

import asyncio
import logging

import pytest

from shardrouter.control.tasks import call_safely, spawn, supervised


async def test_failure_of_a_task_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("boom")

    task = spawn(fail(), name="fragile")
    await asyncio.wait([task])
    assert "task_failed name=fragile" in caplog.text
    assert "boom" in caplog.text


async def test_cancellation_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    task = spawn(asyncio.Event().wait(), name="idle")
    task.cancel()
    await asyncio.wait([task])
    assert caplog.text == ""


async def test_loop_is_started_again_until_it_returns(caplog: pytest.LogCaptureFixture) -> None:
    runs = 0

    async def loop() -> None:
        nonlocal runs
        runs += 1
        if runs < 4:
            raise OSError(f"failure {runs}")

    await supervised(loop, name="loop", first_pause_seconds=0.001, longest_pause_seconds=0.002)
    assert runs == 4
    pauses = [r.args for r in caplog.records if r.levelno == logging.ERROR]
    assert pauses == [("loop", 0.001), ("loop", 0.002), ("loop", 0.002)]


async def test_cancelling_a_supervised_loop_ends_it() -> None:
    task = spawn(supervised(asyncio.Event().wait, name="loop"), name="loop")  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_callback_failure_is_logged_and_swallowed(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []
    call_safely(seen.append, 3, name="good")
    call_safely(int, "no number", name="bad")
    assert seen == [3]
    assert "callback_failed name=bad" in caplog.text
