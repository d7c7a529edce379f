"""The desk of admin clients: who is let in, whose command a cancel request ends, goodbyes."""

import asyncio
from typing import Any, cast

import pytest

from shardrouter.errors import LoginRefused
from shardrouter.proxy.admin import desk as admin_desk
from shardrouter.proxy.admin.desk import AdminDesk
from shardrouter.wire import messages as m
from tests.support.admin_script import read_all
from tests.support.fake_workers import FakeWorkers
from tests.unit.proxy.test_admin_connection import FakeTransport, settle

ADMIN = "shardrouter_admin"


class Channel:
    """A login that has ended well."""

    def __init__(self, leftover: bytes = b"") -> None:
        self.transport = FakeTransport()
        self._leftover = leftover

    def detach(self) -> bytes:
        return self._leftover

    @property
    def client(self) -> Any:
        return self.transport.protocol

    def key(self) -> tuple[int, bytes]:
        body = next(each.body for each in read_all(self.transport.written) if each.kind == "K")
        return int.from_bytes(body[:4], "big"), body[4:]


@pytest.fixture
def workers() -> FakeWorkers:
    return FakeWorkers()


@pytest.fixture
def desk(workers: FakeWorkers) -> AdminDesk:
    return AdminDesk(workers.context(""))


def admitted(desk: AdminDesk, leftover: bytes = b"", version: int = m.PROTOCOL_3_0) -> Channel:
    channel = Channel(leftover)
    desk.admit(cast("Any", channel), ADMIN, version)
    return channel


async def test_an_admin_is_let_in_and_answered(desk: AdminDesk) -> None:
    channel = admitted(desk, m.query("show version"))
    await settle()
    kinds = "".join(message.kind for message in read_all(channel.transport.written))
    assert kinds.startswith("RS")
    assert kinds.endswith("KZTDCZ")


@pytest.mark.parametrize(("version", "size"), [(m.PROTOCOL_3_0, 4), (m.PROTOCOL_3_2, 32)])
async def test_keys_are_as_long_as_the_protocol_allows(
    version: int, size: int, desk: AdminDesk
) -> None:
    assert len(admitted(desk, version=version).key()[1]) == size


async def test_nobody_else_is_let_in(desk: AdminDesk) -> None:
    channel = Channel()
    with pytest.raises(LoginRefused) as caught:
        desk.admit(cast("Any", channel), "ada", m.PROTOCOL_3_0)
    assert caught.value.sqlstate == "42501"
    assert channel.transport.written == b""


async def test_admins_are_bounded(desk: AdminDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_desk, "MOST_ADMINS", 1)
    channel = admitted(desk)
    with pytest.raises(LoginRefused, match="too many"):
        admitted(desk)
    channel.client.connection_lost(None)
    admitted(desk)


async def test_a_cancel_request_ends_its_own_command_only(
    desk: AdminDesk, workers: FakeWorkers
) -> None:
    workers.drains_seconds = 30.0
    first, second = (admitted(desk, m.query("pause")) for _ in range(2))
    await settle()
    pid, key = second.key()
    assert not desk.cancel(pid, bytes(4))
    assert not desk.cancel(pid ^ 1, key)
    assert desk.cancel(pid, key)
    await settle()
    assert read_all(second.transport.written)[-2].kind == "E"
    assert read_all(first.transport.written)[-1].kind == "Z"
    await desk.end_all("57P01", "the proxy stops")


async def test_a_user_that_a_reload_takes_out_may_do_nothing_more(
    desk: AdminDesk, workers: FakeWorkers
) -> None:
    channel = admitted(desk)
    workers.admin_users = ("somebody_else",)
    channel.transport.taken()
    channel.client.data_received(m.query("kill 12"))
    await settle()
    error = read_all(channel.transport.written)[0]
    assert m.read_error_fields(error.body)["C"] == "42501"
    assert workers.asked == []


async def test_goodbyes_wait_for_answers_but_not_for_ever(
    desk: AdminDesk, workers: FakeWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_desk, "GOODBYE_SECONDS", 0.05)
    workers.drains_seconds = 30.0
    idle, busy = admitted(desk), admitted(desk, m.query("pause"))
    await settle()
    ending = asyncio.ensure_future(desk.end_all("57P01", "the proxy stops"))
    await settle()
    assert idle.transport.closed
    assert not busy.transport.closed
    await ending
    assert busy.transport.closed
    assert read_all(busy.transport.written)[-1].kind == "E"


async def test_nobody_to_say_goodbye_to(desk: AdminDesk) -> None:
    await desk.end_all("57P01", "the proxy stops")
