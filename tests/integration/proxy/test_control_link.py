"""The link between parent and worker: answers, errors, deadlines, and what cuts it off."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from shardrouter.errors import (
    BackendRefused,
    ControlLost,
    NoPrimary,
    SettingsError,
    ShardRouterError,
)
from shardrouter.proxy import control_link
from shardrouter.proxy.control_link import ControlLink, error_from_data, error_to_data


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[ControlLink, ControlLink]]:
    one, other = socket.socketpair()
    parent, worker = ControlLink("the worker"), ControlLink("the parent")
    await parent.open(one)
    await worker.open(other)
    try:
        yield parent, worker
    finally:
        parent.close()
        worker.close()
        await asyncio.gather(parent.wait_closed(), worker.wait_closed())


@asynccontextmanager
async def against_raw() -> AsyncIterator[tuple[ControlLink, socket.socket]]:
    one, other = socket.socketpair()
    other.setblocking(False)
    link = await ControlLink("nobody").open(one)
    with other:
        try:
            yield link, other
        finally:
            link.close()
            await link.wait_closed()


def frame(message: Any) -> bytes:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return len(body).to_bytes(4) + body


async def double(number: int) -> int:
    return 2 * number


async def test_both_sides_ask() -> None:
    async with linked() as (parent, worker):
        parent.answer("double", double)
        worker.answer("echo", lambda **said: asyncio.sleep(0, said))
        assert await worker.ask("double", number=21) == 42
        assert await parent.ask("echo", text="ä\n\0") == {"text": "ä\n\0"}


def test_it_works_on_the_loop_of_the_workers() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_both_sides_ask())


async def test_answers_come_in_any_order() -> None:
    gates = {1: asyncio.Event(), 2: asyncio.Event()}

    async def wait(gate: int) -> int:
        await gates[gate].wait()
        return gate

    async with linked() as (parent, worker):
        worker.answer("wait", wait)
        first = asyncio.ensure_future(parent.ask("wait", gate=1))
        second = asyncio.ensure_future(parent.ask("wait", gate=2))
        gates[2].set()
        assert await second == 2
        gates[1].set()
        assert await first == 1


async def test_what_is_told_is_heard_in_order() -> None:
    heard: list[int] = []
    done = asyncio.Event()

    async def hear(number: int) -> None:
        heard.append(number)
        if number == 99:
            done.set()

    async with linked() as (parent, worker):
        worker.answer("hear", hear)
        for number in range(100):
            parent.tell("hear", number=number)
        await done.wait()
        assert heard == list(range(100))


async def test_big_messages_pass_and_too_big_ones_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control_link, "MAX_MESSAGE_BYTES", 3_000_000)
    async with linked() as (parent, worker):
        worker.answer("big", lambda size: asyncio.sleep(0, "x" * size))
        assert len(await parent.ask("big", size=2_000_000)) == 2_000_000
        with pytest.raises(ShardRouterError, match="too long for the control link"):
            await parent.ask("big", size=4_000_000)
        with pytest.raises(ShardRouterError, match="too long"):
            await parent.ask("big", size="x" * 4_000_000)
        assert len(await parent.ask("big", size=5)) == 5


async def test_errors_cross_with_their_class() -> None:
    async def fail() -> None:
        raise NoPrimary("s1 has none", shard="s1", epoch=7, hint="wait")

    async with linked() as (parent, worker):
        worker.answer("fail", fail)
        with pytest.raises(NoPrimary) as caught:
            await parent.ask("fail")
        assert str(caught.value) == "s1 has none [shard s1, epoch 7]\nhint: wait"
        assert caught.value.retryable


@pytest.mark.parametrize("verb", ["unknown", "broken", "unspeakable", "double"])
async def test_a_failing_question_is_told_and_the_link_lives(verb: str) -> None:
    async def broken() -> None:
        raise RuntimeError("a bug")

    async with linked() as (parent, worker):
        worker.answer("broken", broken)
        worker.answer("unspeakable", lambda: asyncio.sleep(0, object()))
        worker.answer("double", double)  # asked without its argument
        with pytest.raises(ShardRouterError):
            await parent.ask(verb)
        parent.tell(verb)
        assert await parent.ask("double", number=1) == 2


async def test_a_deadline_ends_the_wait_and_a_late_answer_is_ignored() -> None:
    gate = asyncio.Event()

    async with linked() as (parent, worker):
        worker.answer("wait", gate.wait)
        with pytest.raises(ControlLost, match=r"did not answer wait in 0\.01 s"):
            await parent.ask("wait", timeout_seconds=0.01)
        gate.set()
        assert await parent.ask("wait") is True


async def test_who_waits_hears_that_the_other_side_is_gone() -> None:
    async with linked() as (parent, worker):
        worker.answer("wait", asyncio.Event().wait)
        question = asyncio.ensure_future(parent.ask("wait"))
        await asyncio.sleep(0)
        worker.close()
        with pytest.raises(ControlLost, match="the worker has gone"):
            await question
        with pytest.raises(ControlLost):
            await parent.ask("wait")
        parent.tell("wait")
        assert parent.is_closed


async def test_own_answers_can_be_called() -> None:
    async with linked() as (parent, _):
        parent.answer("double", double)
        assert parent.has_answer_to("double")
        assert await parent.call_own("double", number=2) == 4


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff\xff\xff\xff",
        frame(b"not json"),
        frame(b"\xff\xfe"),
        frame(b"[" * 100_000),
        frame([]),
        frame({}),
        frame({"ask": "1", "verb": "double", "arguments": {}}),
        frame({"ask": 1, "verb": "double"}),
        frame({"answered": 1}),
        frame({"answered": 1, "error": "no"}),
    ],
)
async def test_nonsense_cuts_the_link(sent: bytes) -> None:
    async with against_raw() as (link, raw):
        raw.send(sent)
        async with asyncio.timeout(5):
            await link.wait_closed()


async def test_frames_in_pieces_and_answers_to_nothing() -> None:
    async with against_raw() as (link, raw):
        link.answer("double", double)
        loop = asyncio.get_running_loop()
        sent = frame({"answered": 99, "value": 1})
        sent += frame({"ask": 1, "verb": "double", "arguments": {"number": 4}})
        for at in range(len(sent)):
            await loop.sock_sendall(raw, sent[at : at + 1])
        received = await loop.sock_recv(raw, 1000)
        assert json.loads(received[4:]) == {"answered": 1, "value": 8}


async def test_a_side_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_link, "MAX_UNSENT_BYTES", 1_000_000)
    async with against_raw() as (link, _):
        for _ in range(40):
            link.tell("hear", text="x" * 100_000)
        async with asyncio.timeout(5):
            await link.wait_closed()


async def test_too_many_questions_at_once_cut_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_link, "MAX_BEING_ANSWERED", 3)
    gate = asyncio.Event()
    async with against_raw() as (link, raw):
        link.answer("wait", gate.wait)
        raw.send(frame({"ask": 1, "verb": "wait", "arguments": {}}) * 4)
        async with asyncio.timeout(5):
            await link.wait_closed()
        gate.set()


def test_errors_of_special_or_unknown_classes_become_plain_ones() -> None:
    refused = BackendRefused("no", fields={"C": "28P01"})
    for data in (error_to_data(refused), {"class": "dict"}, {"class": "Path", "message": 3}, {}):
        assert type(error_from_data(data)) is ShardRouterError
    assert type(error_from_data(error_to_data(SettingsError("x")))) is SettingsError
