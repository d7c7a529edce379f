"""BackendStream: whose answer each message is, at both speeds and in any chunks.

A talk is a plan of what is owed, what the backend says, and what must come of it.
"""

import tracemalloc
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardrouter.wire import messages
from shardrouter.wire.answers import ANSWERS, Action
from shardrouter.wire.codes import FOR_US, Outcome, Owed, Seen
from tests.support.stream_twins import StreamTwin

DONE, FAILED, SKIPPED = Outcome
SYNTAX = messages.error_response("ERROR", "42601", "syntax error")
INTRUDED = messages.error_response("ERROR", "08P01", "unexpected message type 0x51 during COPY")
BAD_DATA = messages.error_response("ERROR", "22P02", "invalid input")
ROW = messages.data_row([b"1", None])
COLUMNS = messages.row_description(["a"])
SELECT = messages.command_complete("SELECT 1")
COPIED = messages.command_complete("COPY 1")
READY, IN_TRANSACTION = messages.ready(), messages.ready(b"T")
SETTING = messages.parameter_status("a", "b")
NOTICE = messages.notice("NOTICE", "00000", "hello")
NOTIFICATION = messages.typed(b"A", b"\0\0\0\1channel\0payload\0")
PARSED, BOUND, CLOSED = (messages.typed(kind) for kind in (b"1", b"2", b"3"))
NO_DATA, EMPTY, SUSPENDED = (messages.typed(kind) for kind in (b"n", b"I", b"s"))
TYPES = messages.parameter_description([23])
COPY_IN = messages.typed(b"G", b"\0\0\0")
COPY_OUT = messages.typed(b"H", b"\0\0\0")
COPY_DATA, COPY_DONE = messages.typed(b"d", b"1\n"), messages.typed(b"c")
VALUE = messages.typed(b"V", b"\0\0\0\0011")


class Talk(NamedTuple):
    owed: list[Owed]
    said: bytes
    told: bytes
    """What reaches the client."""
    rest: list[Owed] = []  # noqa: RUF012
    outcomes: list[Outcome] = []  # noqa: RUF012
    events: str = ""
    """Types of events, those that are for us in lower case."""
    seen: Seen = Seen(0)
    """Flags beside those that follow from the above."""


def same(owed: list[Owed], said: bytes, **more: Any) -> Talk:
    """A talk of which the client gets everything."""
    return Talk(owed, said, said, **more)


Q, S, F, P, B, D, E, C = (Owed.QUERY, Owed.SYNC, Owed.CALL, Owed.PARSE, Owed.BIND, Owed.DESCRIBE,
                          Owed.EXECUTE, Owed.CLOSE)  # fmt: skip
P_OURS, C_OURS, C_FAKE, OWN, P_UNNAMED = (Owed.PARSE_HIDDEN, Owed.CLOSE_HIDDEN, Owed.CLOSE_FAKE,
                                          Owed.OWN, Owed.PARSE_UNNAMED)  # fmt: skip
DATA, END = Owed.COPY_DATA, Owed.COPY_END

TALKS = {
    "query": same([Q], COLUMNS + ROW + SELECT + READY),
    "empty query": same([Q], EMPTY + READY),
    "several": same([Q], COLUMNS + ROW + SELECT + COLUMNS + SELECT + IN_TRANSACTION),
    "query fails": same([Q, Q], COLUMNS + SYNTAX + READY, rest=[Q], events="E"),
    "copy out": same([Q], COPY_OUT + COPY_DATA + COPY_DONE + COPIED + READY),
    "call": same([F, F], VALUE + READY + SYNTAX + READY, events="E"),
    "batch": same(
        [P_UNNAMED, D, B, D, E, C, S],
        PARSED + TYPES + NO_DATA + BOUND + COLUMNS + ROW + SELECT + CLOSED + READY,
    ),
    "row limit": same([B, E, E], BOUND + ROW + SUSPENDED + ROW + SELECT),
    "empty statement": same([B, E, S], BOUND + EMPTY + READY),
    "names": same([P, S, P, S], PARSED + READY + PARSED + READY, outcomes=[DONE, DONE]),
    "failed name": same(
        [P, B, E, P, S, P], SYNTAX + READY, rest=[P], outcomes=[FAILED, SKIPPED], events="E"
    ),
    "failed bind": same(
        [B, P_OURS, C_FAKE, P_UNNAMED, S],
        SYNTAX + READY,
        outcomes=[SKIPPED, SKIPPED],
        events="E",
    ),
    "failed, no sync yet": same([B, E], SYNTAX, events="E"),
    "query in a failed batch": same([B, E, Q, S], SYNTAX + READY, events="E"),
    "unnamed fails": same([P_UNNAMED, B, S], SYNTAX, rest=[S], events="E", seen=Seen.UNNAMED_LOST),
    "commit fails": same([B, E, S], BOUND + COPIED + SYNTAX + READY, events="E"),
    "hidden": Talk(
        [P_OURS, B, C_OURS, E, S],
        PARSED + BOUND + CLOSED + ROW + SELECT + READY,
        BOUND + ROW + SELECT + READY,
        outcomes=[DONE],
    ),
    "hidden first and last": Talk([C_OURS, P_OURS], CLOSED + PARSED, b"", outcomes=[DONE]),
    "hidden fails": same([P_OURS, B, E, S], SYNTAX + READY, outcomes=[FAILED], events="E"),
    "fake behind": Talk(
        [E, C_FAKE, C_FAKE, S], SELECT + READY, SELECT + CLOSED * 2 + READY, outcomes=[DONE, DONE]
    ),
    "fake at the end": Talk([B, C_FAKE], BOUND, BOUND + CLOSED, outcomes=[DONE]),
    "fake behind hidden": Talk(
        [P_OURS, C_FAKE, B], PARSED + BOUND, CLOSED + BOUND, outcomes=[DONE, DONE]
    ),
    "fake behind sync": Talk([S, C_FAKE], READY, READY + CLOSED, outcomes=[DONE]),
    "own": Talk([OWN], COLUMNS + ROW + SELECT + READY, b"", events="tdcz"),
    "own fails": Talk([OWN, Q], SYNTAX + READY + SELECT + READY, SELECT + READY, events="ez"),
    "own between": Talk(
        [Q, OWN, Q],
        SELECT + READY + NOTICE + ROW + SETTING + READY + EMPTY + READY,
        SELECT + READY + EMPTY + READY,
        events="ndsz",
    ),
    "notification in our own": Talk([OWN], NOTIFICATION + READY, NOTIFICATION, events="Az"),
    "unasked": same([], NOTICE + SETTING + NOTIFICATION, events="NSA"),
    "goodbye": same(
        [],
        messages.error_response("FATAL", "57P01", "the end"),
        events="E",
        seen=Seen.DOUBTFUL,
    ),
    "copy": same([Q, Q], COPY_IN + COPIED + READY, rest=[Q]),
    "copy at once": same([Q, DATA, END, Q], COPY_IN + COPIED + READY, rest=[Q]),
    "syncs in a copy": same([Q, S, S, DATA, S, END, S], COPY_IN + COPIED + READY, rest=[S]),
    "two copies": same(
        [Q, DATA, END, DATA, END, S], COPY_IN + COPIED + COPY_IN + COPIED + READY + READY
    ),
    "extended copy": same([E, S, DATA, END, S], COPY_IN + COPIED + READY),
    "copy that never begins": same(
        [E, S, DATA, END, S], SYNTAX + READY + READY, events="E"
    ),
    "copy fails by data": same([E, S, DATA, END, S], COPY_IN + BAD_DATA + READY, events="E"),
    "copy fails, sync between": same(
        [E, DATA, S, END, S], COPY_IN + BAD_DATA + READY, rest=[S], events="E", seen=Seen.DOUBTFUL
    ),
    "copy fails for no reason": same(
        [E, S], COPY_IN + BAD_DATA, events="E", seen=Seen.DOUBTFUL
    ),
    "copy fails, and the sync counted": same(
        [E, S], COPY_IN + BAD_DATA + READY, events="E", seen=Seen.DOUBTFUL
    ),
    "query in a copy": same([Q, S, Q, Q], COPY_IN + INTRUDED + READY + EMPTY + READY, events="E"),
    "parse in a copy": same(
        [Q, DATA, P, S], COPY_IN + INTRUDED + READY + READY, outcomes=[SKIPPED], events="E"
    ),
    "fake in a copy": Talk(
        [Q, C_FAKE, END, S],
        COPY_IN + COPIED + READY + READY,
        COPY_IN + COPIED + READY + CLOSED + READY,
        outcomes=[DONE],
    ),
}  # fmt: skip


class Result:
    """What came of a talk."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.told = b""
        self.flags = 0
        self.readies = 0

    def feed(self, data: bytes) -> None:
        flags = self.stream.feed(data)
        self.flags |= flags
        self.readies += self.stream.ready_count
        if not flags & Seen.BROKEN:
            cut = flags & Seen.CUT
            self.told += b"".join(self.stream.pieces) if cut else self.stream.data

    def check(self, talk: Talk) -> None:
        stream = self.stream
        assert self.told == talk.told
        assert list(stream.plan[stream.head :]) == talk.rest
        assert stream.owed() == (talk.rest[0] if talk.rest else 0)
        assert stream.outcomes == talk.outcomes
        assert "".join(map(event_name, stream.events)) == talk.events
        flagged = self.flags & ~(Seen.CUT | Seen.READY | Seen.QUIET)
        derived = Seen.PARSED * bool(talk.outcomes) | Seen.EVENTS * bool(talk.events)
        assert flagged == derived | talk.seen
        assert not stream.is_mid_message()


def event_name(event: tuple[int, bytes]) -> str:
    kind = event[0]
    return chr(kind - FOR_US).lower() if kind >= FOR_US else chr(kind)


def begin(streams: StreamTwin, owed: list[Owed]) -> Result:
    stream = streams.backend_stream()
    for code in owed:
        stream.note_copy(code) if code in (DATA, END) else stream.expect(code)
    return Result(stream)


@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_talks(streams: StreamTwin, talk: Talk, size: int):
    result = begin(streams, talk.owed)
    for at in range(0, len(talk.said), size):
        result.feed(talk.said[at : at + size])
    result.check(talk)


@given(talk=st.sampled_from(list(TALKS.values())), cuts=st.lists(st.integers(1, 60), max_size=40))
def test_any_chunking_gives_the_same(streams: StreamTwin, talk: Talk, cuts: list[int]):
    result = begin(streams, talk.owed)
    said = talk.said
    for size in [*cuts, len(said)]:
        if said:
            result.feed(said[:size])
            said = said[size:]
    result.check(talk)


ANYTHING_UNASKED = st.lists(st.sampled_from([NOTICE, SETTING, NOTIFICATION]), max_size=3)


@given(data=st.data(), name=st.sampled_from([n for n in TALKS if "own" not in n]))
def test_unasked_messages_anywhere(streams: StreamTwin, data: st.DataObject, name: str):
    talk = TALKS[name]
    result = begin(streams, talk.owed)
    quiet = begin(streams, talk.owed)
    expected = b""
    for message in split(talk.said):
        for unasked in data.draw(ANYTHING_UNASKED):
            result.feed(unasked)
            expected += unasked
        before = len(quiet.told)
        quiet.feed(message)
        result.feed(message)
        expected += quiet.told[before:]
    assert result.told == expected
    assert result.readies == quiet.readies
    assert result.stream.outcomes == quiet.stream.outcomes


def split(said: bytes) -> list[bytes]:
    found = []
    while said:
        size = int.from_bytes(said[1:5]) + 1
        found.append(said[:size])
        said = said[size:]
    return found


HEADS = [owed for owed in Owed if owed in ANSWERS]


@pytest.mark.parametrize("owed", HEADS)
def test_what_may_not_come_breaks(streams: StreamTwin, owed: Owed):
    for kind in range(256):
        if ANSWERS[owed].get(chr(kind), Action.BROKEN) == Action.BROKEN:
            stream = streams.backend_stream()
            if owed:
                stream.expect(owed)
            assert stream.feed(messages.typed(bytes([kind]), b"body\0")) & Seen.BROKEN, chr(kind)


@pytest.mark.parametrize("length", [0, 3, 0x40000401, 2**31, 2**32 - 1])
def test_lengths_that_no_message_has(streams: StreamTwin, length: int):
    stream = streams.backend_stream()
    stream.expect(Owed.QUERY)
    assert stream.feed(b"D" + length.to_bytes(4) + b"more") & Seen.BROKEN


@pytest.mark.parametrize("owed", [Owed.QUERY, Owed.SYNC, Owed.OWN])
def test_a_ready_of_another_length_breaks(streams: StreamTwin, owed: Owed):
    stream = streams.backend_stream()
    stream.expect(owed)
    assert stream.feed(b"Z\0\0\0\6II") & Seen.BROKEN


@pytest.mark.parametrize("kind", [b"Z", b"S", b"A", b"G"])
def test_what_has_a_meaning_is_never_giant(streams: StreamTwin, kind: bytes):
    stream = streams.backend_stream()
    stream.expect(Owed.QUERY)
    assert stream.feed(kind + (2**30 - 1).to_bytes(4) + b"x") & Seen.BROKEN


def test_a_giant_row_is_passed_on_as_it_comes(streams: StreamTwin):
    stream = streams.backend_stream()
    stream.expect(Owed.QUERY)
    head = b"D" + (2**30 - 1).to_bytes(4) + b"\0\1"
    tracemalloc.start()
    try:
        assert stream.feed(head) == 0
        assert stream.data == head
        assert stream.feed(b"x" * 1000) == 0
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert stream.is_mid_message()


def test_a_giant_error_is_passed_on(streams: StreamTwin):
    stream = streams.backend_stream()
    stream.expect(Owed.QUERY)
    said = messages.error_response("ERROR", "22000", "x" * 2_000_000) + READY
    result = Result(stream)
    for at in range(0, len(said), 70_000):
        result.feed(said[at : at + 70_000])
    assert result.told == said
    assert stream.owed() == 0


def test_status_and_quiet(streams: StreamTwin):
    stream = streams.backend_stream()
    stream.expect(Owed.QUERY)
    stream.expect(Owed.QUERY)
    assert stream.feed(SELECT + IN_TRANSACTION) == Seen.READY
    assert stream.status == ord("T")
    assert stream.feed(SELECT + READY) == Seen.READY | Seen.QUIET
    assert stream.status == ord("I")
    assert stream.ready_count == 1


def test_the_server_skips_until_sync(streams: StreamTwin):
    stream = streams.backend_stream()
    stream.expect(Owed.BIND)
    stream.feed(SYNTAX)
    assert stream.is_skipping
    stream.expect(Owed.BIND)
    stream.expect(Owed.SYNC)
    assert stream.feed(SYNTAX + READY) & Seen.QUIET


@pytest.mark.parametrize("asked", [[Owed.QUERY], [Owed.BIND, Owed.EXECUTE, Owed.SYNC]])
def test_the_rest_of_an_answer_can_be_kept_back(streams: StreamTwin, asked: list[Owed]):
    stream = streams.backend_stream()
    for code in asked:
        stream.expect(code)
    stream.feed(SYNTAX)
    stream.take_over()
    assert stream.owed() == Owed.OWN
    assert stream.feed(READY) == Seen.QUIET | Seen.EVENTS | Seen.CUT
    assert (stream.pieces, stream.ready_count) == ([], 0)
    assert [kind for kind, _ in stream.events][-1] == FOR_US + ord("Z")


def test_answered_entries_are_dropped(streams: StreamTwin):
    stream = streams.backend_stream()
    for _ in range(10_000):
        stream.expect(Owed.QUERY)
        stream.feed(SELECT + READY)
    assert len(stream.plan) < 1000


@pytest.mark.parametrize(
    ("plan", "is_undecided"),
    [
        ([], False),
        ([P], False),
        ([P, B, E], False),
        ([P, S], True),
        ([S, P], False),
        ([B, S, P_OURS, B], False),
        ([P_OURS, B, E, S, B], True),
        ([B, C_FAKE, Q, S], True),
        ([P_UNNAMED, B, S], False),
    ],
)
def test_undecided(streams: StreamTwin, plan: list[Owed], is_undecided: bool):
    assert begin(streams, plan).stream.is_undecided() == is_undecided


@pytest.mark.parametrize(
    ("plan", "ends"),
    [([Q], True), ([S], True), ([F], True), ([OWN], True), ([B, E], False), ([Q, P], False)],
)
def test_what_ends_with_a_ready(streams: StreamTwin, plan: list[Owed], ends: bool):
    assert begin(streams, plan).stream.will_be_quiet() == ends
