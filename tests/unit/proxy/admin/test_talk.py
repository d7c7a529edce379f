"""Talks with an admin client as scripts: messages in, messages out."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shardrouter.errors import ClientProtocolError
from shardrouter.proxy.admin.talk import MOST_NAMES, AdminTalk
from shardrouter.wire import messages as m
from tests.support.admin_script import kinds, read_all
from tests.support.fake_workers import FakeWorkers

Say = Callable[..., Awaitable[bytes]]


@pytest.fixture
def workers() -> FakeWorkers:
    return FakeWorkers()


@pytest.fixture
def talk(workers: FakeWorkers) -> AdminTalk:
    return AdminTalk(workers.context())


@pytest.fixture
def say(talk: AdminTalk) -> Say:
    async def say(*sent: bytes) -> bytes:
        said = b""
        for message in sent:
            said += await talk.answer(message[0], message[5:])
        return said

    return say


def extended(text: str, *, name: str = "", portal: str = "", most: int = 0) -> list[bytes]:
    return [
        m.parse(name, text),
        m.describe(b"S", name),
        m.bind(portal, name, (), (1,)),
        m.describe(b"P", portal),
        m.execute(portal, most),
    ]


async def test_a_simple_query_gives_columns_rows_tag_and_status(say: Say) -> None:
    assert kinds(await say(m.query("show clients;"))) == "TDDCZ"


async def test_null_and_numbers_are_text(say: Say) -> None:
    row = read_all(await say(m.query("show clients")))[1].body
    assert b"12.346" in row
    assert b"\xff\xff\xff\xff" in row


async def test_several_commands_in_one_query(say: Say) -> None:
    assert kinds(await say(m.query("resume; show version; resume s0"))) == "CTDCCZ"


async def test_nothing_runs_when_one_command_is_wrong(say: Say, workers: FakeWorkers) -> None:
    assert kinds(await say(m.query("drain; nonsense"))) == "EZ"
    assert workers.asked == []


async def test_a_failure_ends_the_query_and_keeps_what_came_before(say: Say) -> None:
    assert kinds(await say(m.query("show version; pause s9; show version"))) == "TDCEZ"


@pytest.mark.parametrize("text", ["", " ", ";", ";;", "-- nothing"])
async def test_an_empty_query(text: str, say: Say) -> None:
    assert kinds(await say(m.query(text))) == "IZ"


async def test_an_unknown_command_has_a_hint(say: Say) -> None:
    fields = m.read_error_fields(read_all(await say(m.query("select 1")))[0].body)
    assert fields["C"] == "42601"
    assert "SHOW SHARDS" in fields["H"]


async def test_notes_are_notices(say: Say) -> None:
    assert kinds(await say(m.query("drain"))) == "NCZ"


async def test_the_extended_protocol(say: Say) -> None:
    assert kinds(await say(*extended("show clients"), m.sync())) == "1tT2TDDCZ"


async def test_a_command_without_a_table_in_the_extended_protocol(say: Say) -> None:
    assert kinds(await say(*extended("resume"), m.sync())) == "1tn2nCZ"


async def test_an_empty_statement_in_the_extended_protocol(say: Say) -> None:
    assert kinds(await say(*extended(""), m.sync())) == "1tn2nIZ"


async def test_a_row_limit_suspends_the_portal(say: Say, workers: FakeWorkers) -> None:
    await say(m.query("begin"))
    assert kinds(await say(*extended("show clients", portal="p", most=1))) == "1tT2TDs"
    asked = len(workers.asked)
    assert kinds(await say(m.execute("p", 1), m.execute("p", 1))) == "DCC"
    assert len(workers.asked) == asked  # the rows are of one moment


async def test_errors_skip_to_sync(say: Say) -> None:
    sent = [m.parse("", "nonsense"), m.bind("", ""), m.execute(), m.query("show version")]
    assert kinds(await say(*sent)) == "E"
    assert kinds(await say(m.sync(), m.sync(), m.query("show version"))) == "ZZTDCZ"


async def test_named_statements_stay_and_are_closed(say: Say) -> None:
    assert kinds(await say(m.parse("a", "show version"), m.sync())) == "1Z"
    assert state_of(await say(m.parse("a", "show version"), m.sync())) == "42P05"
    assert kinds(await say(m.bind("", "a"), m.execute(), m.close(b"S", "a"), m.sync())) == "2DC3Z"
    assert state_of(await say(m.bind("", "a"), m.sync())) == "26000"
    assert kinds(await say(m.close(b"S", "never"), m.close(b"P", "never"), m.sync())) == "33Z"


async def test_portals_end_with_the_transaction(say: Say) -> None:
    await say(m.parse("", "show version"), m.bind("p", ""), m.sync())
    assert state_of(await say(m.execute("p"), m.sync())) == "34000"


async def test_several_statements_in_a_parse(say: Say) -> None:
    assert state_of(await say(m.parse("", "show version; resume"), m.sync())) == "42601"


async def test_flush_and_copy_messages_mean_nothing(say: Say) -> None:
    sent = [m.flush(), m.typed(b"d", b"x"), m.COPY_DONE, m.typed(b"f", b"why\0")]
    assert await say(*sent) == b""


async def test_function_calls_are_refused(say: Say) -> None:
    answer = await say(m.typed(b"F", b"\0\0\0\1"))
    assert (kinds(answer), state_of(answer)) == ("EZ", "0A000")


async def test_transactions_are_a_courtesy_with_the_right_status(say: Say) -> None:
    assert status_of(await say(m.query("BEGIN"))) == b"T"
    assert status_of(await say(m.query("show version"))) == b"T"
    assert status_of(await say(m.query("nonsense"))) == b"E"
    assert state_of(await say(m.query("show version"))) == "25P02"
    assert state_of(await say(m.query("set a = 1"))) == "25P02"
    answer = await say(m.query("COMMIT"))
    assert status_of(answer) == b"I"
    assert b"ROLLBACK" in answer


async def test_what_drivers_set_is_accepted(say: Say) -> None:
    assert kinds(await say(m.query("SET extra_float_digits = 3; SET a TO 'b c'"))) == "CCZ"


async def test_parameters_are_a_breach_of_protocol(say: Say) -> None:
    await say(m.parse("", "kill $1"))
    with pytest.raises(ClientProtocolError):
        await say(m.bind("", "", (b"12",)))


@pytest.mark.parametrize(
    "message",
    [
        m.typed(b"Q", b"show version"),
        m.typed(b"Q", b"show\0version\0"),
        m.typed(b"Q", b"\xff\0"),
        m.typed(b"P", b"\0show version\0\0\1"),
        m.typed(b"P", b"\0show version\0\0\0more"),
        m.typed(b"B", b"\0\0\x7f\xff"),
        m.typed(b"D", b""),
        m.typed(b"E", b"\0\0\0"),
        m.typed(b"C", b"S"),
        m.typed(b"p", b"password\0"),
    ],
)
async def test_malformed_messages(message: bytes, say: Say) -> None:
    with pytest.raises(ClientProtocolError):
        await say(message)


async def test_negative_counts_read_nothing(say: Say) -> None:
    assert kinds(await say(m.typed(b"P", b"\0show version\0" + struct.pack("!h", -1)))) == "1"


async def test_names_are_bounded(say: Say) -> None:
    for number in range(MOST_NAMES):
        await say(m.parse(f"s{number}", "show version"))
    assert state_of(await say(m.parse("one more", "show version"), m.sync())) == "54000"


async def test_a_cancel_ends_the_command_only(
    talk: AdminTalk, say: Say, workers: FakeWorkers
) -> None:
    workers.drains_seconds = 30.0
    pausing = asyncio.ensure_future(say(m.query("pause")))
    await asyncio.sleep(0.01)
    talk.cancel()
    answer = await pausing
    assert (kinds(answer), state_of(answer)) == ("EZ", "57014")
    talk.cancel()  # of nothing
    assert kinds(await say(m.query("show version"))) == "TDCZ"


async def test_an_end_from_outside_is_no_cancel(
    talk: AdminTalk, say: Say, workers: FakeWorkers
) -> None:
    workers.drains_seconds = 30.0
    pausing = asyncio.ensure_future(say(m.query("pause")))
    await asyncio.sleep(0.01)
    pausing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pausing


async def test_who_is_no_admin_is_told_so_by_every_protocol(workers: FakeWorkers) -> None:
    talk = AdminTalk(workers.context("ada"))
    for sent in ([m.query("kill 12")], [*extended("kill 12"), m.sync()]):
        said = b"".join([await talk.answer(message[0], message[5:]) for message in sent])
        assert state_of(said) == "42501"
    assert workers.asked == []


def state_of(said: bytes) -> str:
    [error] = [each for each in read_all(said) if each.kind == "E"]
    return m.read_error_fields(error.body)["C"]


def status_of(said: bytes) -> bytes:
    return read_all(said)[-1].body


def test_the_script_reader_reads_whole_messages() -> None:
    read: list[Any] = read_all(m.query("a") + m.sync())
    assert [(each.kind, each.body) for each in read] == [("Q", b"a\0"), ("S", b"")]
