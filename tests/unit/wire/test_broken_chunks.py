"""A chunk that makes no sense is not passed on; what had begun to go through has no end."""

from shardrouter.wire import messages
from shardrouter.wire.backend_stream import BackendStream
from shardrouter.wire.codes import Owed, Seen

HALF = 70_000
ROW = messages.data_row([b"x" * 2 * HALF])


def asked() -> BackendStream:
    stream = BackendStream()
    stream.expect(int(Owed.QUERY))
    return stream


def test_a_row_that_begun_stays_open_when_what_follows_is_broken() -> None:
    stream = asked()
    assert not stream.feed(ROW[:HALF]) & Seen.BROKEN
    left = stream.left
    assert left == len(ROW) - HALF
    assert stream.feed(ROW[HALF:] + b"D\0\0\0\0") & Seen.BROKEN
    assert stream.left == left


def test_nothing_is_open_when_whole_messages_came_before() -> None:
    stream = asked()
    assert not stream.feed(ROW) & Seen.BROKEN
    assert stream.feed(b"D\0\0\0\0") & Seen.BROKEN
    assert stream.left == 0
