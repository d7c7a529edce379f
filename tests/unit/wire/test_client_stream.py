"""ClientStream: any chunking gives the same messages; long ones come in parts, unallocated."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardrouter.wire import messages
from shardrouter.wire.codes import Kind
from tests.support.stream_twins import StreamTwin

MOST = 1 << 30
SHORT = st.binary(max_size=40)
LONG = st.sampled_from([b"x" * size for size in (40_000, 65_532, 65_533, 70_000, 200_000)])
KINDS = st.sampled_from([bytes([kind]) for kind in (*b"QPBDECSHdcfXF", 0, 1, 2, 255)])


def taken(stream) -> list[tuple[int, bytes]]:
    """Take all messages that there are."""
    found = []
    while (kind := stream.next()) != Kind.NONE:
        found.append((kind, bytes(stream.data[stream.start : stream.end])))
        if kind == Kind.BROKEN:
            break
    return found


def joined(parts: list[tuple[int, bytes]]) -> list[bytes]:
    """Put the parts of long messages together."""
    found: list[bytes] = []
    for kind, data in parts:
        if kind == Kind.CONTINUED:
            found[-1] += data
        else:
            found.append(data)
    return found


@given(
    sent=st.lists(st.builds(messages.typed, KINDS, st.one_of(SHORT, SHORT, LONG)), max_size=6),
    cuts=st.lists(st.integers(1, 50_000), max_size=30),
)
def test_any_chunking_gives_the_same_messages(streams: StreamTwin, sent, cuts):
    data = b"".join(sent)
    stream = streams.client_stream(MOST)
    parts: list[tuple[int, bytes]] = []
    for size in [*cuts, len(data) + 1]:
        chunk, data = data[:size], data[size:]
        if chunk:
            stream.feed(chunk)
            parts += taken(stream)
    assert joined(parts) == sent
    assert stream.rest() == 0
    assert stream.left == 0


def test_one_byte_at_a_time(streams: StreamTwin):
    sent = [messages.query("SELECT 1"), messages.sync(), messages.parse("s", "SELECT 2")]
    stream = streams.client_stream(MOST)
    parts = []
    for byte in b"".join(sent):
        stream.feed(bytes([byte]))
        parts += taken(stream)
    assert joined(parts) == sent


@given(sent=st.lists(st.builds(messages.typed, KINDS, SHORT), min_size=1, max_size=6))
def test_a_message_put_back_comes_again(streams: StreamTwin, sent):
    stream = streams.client_stream(MOST)
    stream.feed(b"".join(sent))
    for expected in sent:
        for _ in range(3):
            kind = stream.next()
            assert stream.data[stream.start : stream.end] == expected
            stream.back()
            stream.back()  # once more changes nothing
        assert stream.next() == kind


def test_a_long_message_put_back_comes_again(streams: StreamTwin):
    sent = messages.query("x" * 100_000)
    stream = streams.client_stream(MOST)
    stream.feed(sent[:50_000])
    assert stream.next() == ord("Q")
    assert stream.is_partial
    stream.back()
    stream.back()
    assert not stream.is_partial
    assert stream.next() == ord("Q")
    first = stream.data[stream.start : stream.end]
    stream.feed(sent[50_000:] + messages.sync())
    assert stream.next() == Kind.CONTINUED
    assert first + stream.data[stream.start : stream.end] == sent
    assert stream.next() == ord("S")


@pytest.mark.parametrize("length", [0, 1, 3, 1025, 2**31 - 1, 2**31, 2**32 - 1])
def test_lengths_that_no_message_has(streams: StreamTwin, length: int):
    stream = streams.client_stream(1024)
    stream.feed(messages.sync() + b"Q" + length.to_bytes(4) + b"SELECT")
    assert stream.next() == ord("S")
    assert stream.next() == Kind.BROKEN


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_types_are_not_mistaken_for_kinds(streams: StreamTwin, kind: int):
    stream = streams.client_stream(1024)
    stream.feed(bytes([kind]) + b"\0\0\0\4" + messages.sync())
    assert stream.next() == kind
    assert stream.next() == ord("S")


def test_a_giant_length_allocates_nothing(streams: StreamTwin):
    stream = streams.client_stream(MOST)
    tracemalloc.start()
    try:
        stream.feed(b"Q" + (MOST - 1).to_bytes(4) + b"SELECT")
        assert stream.next() == Kind.NONE
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_copy_data_is_passed_on_as_it_comes(streams: StreamTwin):
    stream = streams.client_stream(MOST)
    stream.feed(b"d" + (1000).to_bytes(4) + b"abc")
    assert stream.next() == ord("d")
    assert stream.is_partial
    assert stream.next() == Kind.NONE
    stream.feed(b"x" * 992)
    assert stream.next() == Kind.CONTINUED
    assert stream.left == 1
