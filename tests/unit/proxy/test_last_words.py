"""Who hears what a server says as it ends a backend."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from shardrouter.proxy.relay.last_words import is_kept_back
from shardrouter.proxy.relay.pair import BackendRelay
from shardrouter.wire import messages
from shardrouter.wire.backend_stream import BackendStream
from shardrouter.wire.codes import Owed, Seen

ANSWER = messages.data_row([b"1"]) + messages.command_complete("SELECT 1") + messages.ready()
FATAL = messages.error_response("FATAL", "57P01", "terminating connection")


def heard(chunk: bytes, *, keeps: bool = False, sends_more: bool = False) -> tuple[bool, bytes]:
    """Return whether the words were kept back, and what goes to the client."""
    stream = BackendStream()
    stream.expect(int(Owed.QUERY))
    if sends_more:
        stream.expect(int(Owed.QUERY))
    flags = stream.feed(chunk)
    relay: Any = SimpleNamespace(stream=stream, client=SimpleNamespace(keeps=keeps))
    kept = is_kept_back(cast("BackendRelay", relay), FATAL[5:])
    return kept, b"".join(stream.pieces) if flags & Seen.CUT else stream.data


def test_a_client_that_is_done_does_not_hear_them() -> None:
    assert heard(ANSWER + FATAL) == (True, ANSWER)


@pytest.mark.parametrize("how", [{"keeps": True}, {"sends_more": True}])
def test_a_client_at_work_there_hears_them(how: dict[str, bool]) -> None:
    assert heard(ANSWER + FATAL, **how) == (False, ANSWER + FATAL)


def test_a_client_in_a_transaction_hears_them() -> None:
    open_ = ANSWER[:-1] + b"T"
    assert heard(open_ + FATAL) == (False, open_ + FATAL)


def test_a_client_that_waits_for_the_answer_hears_them() -> None:
    assert heard(FATAL) == (False, FATAL)
