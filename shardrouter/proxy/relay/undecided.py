"""What was asked about prepared statements and is not answered yet, and how it is undone.

Names are taken as good when they are sent, as what follows in the same batch is skipped by the
server if they are not. When the answer is an error, all of the batch that was noted is undone, the
last first.
"""

from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from shardrouter.proxy.relay.definition import UNKNOWN
from shardrouter.wire.codes import Outcome

if TYPE_CHECKING:
    from shardrouter.proxy.relay.pair import BackendRelay


class Asked(IntEnum):
    """What is undecided. Each entry has a definition and a name beside it."""

    PREPARED = 1
    """A statement on the backend, that no name of the client hangs on."""

    NAMED = 2
    """A name of the client; the definition is None where the backend had it before."""

    REFUSED = 3
    """A Parse that the server will refuse."""

    CLOSED = 4
    """A name was taken from the client; the definition is what it was."""

    UNNAMED = 5
    """The client's unnamed statement; in the place of the definition: the number of the change,
    what it was before, and what the backend's was."""

    BROUGHT = 6
    """The unnamed statement of the backend, which the client had before."""


Entry = tuple[int, Any, bytes | None]


def settle(relay: "BackendRelay", outcomes: list[int]) -> None:
    """Take how the oldest entries ended."""
    row: deque[Entry] = relay.parsing
    ended = [(row.popleft(), outcome) for outcome in outcomes]
    for entry, outcome in reversed(ended):
        if outcome != Outcome.DONE:
            _undo(relay, entry, outcome)


def _undo(relay: "BackendRelay", entry: Entry, outcome: int) -> None:
    asked, definition, name = entry
    statements = None if relay.client is None else relay.client.statements
    if asked in (Asked.PREPARED, Asked.NAMED) and definition is not None:
        relay.prepared.pop(definition, None)
    elif asked == Asked.BROUGHT:
        relay.unnamed = UNKNOWN
    if statements is None:
        return
    if asked == Asked.NAMED:
        statements.names.pop(name, None)
    elif asked == Asked.CLOSED and definition is not None:
        statements.names[name] = definition
    elif asked == Asked.UNNAMED:
        number, *before = definition
        if statements.changes == number:  # else what was sent later decides
            statements.changes -= 1
            # A Parse that fails takes the statement before it along; a skipped one does not.
            is_kept = outcome == Outcome.SKIPPED
            statements.unnamed, relay.unnamed = before if is_kept else (None, UNKNOWN)


def lose_unnamed(relay: "BackendRelay") -> None:
    """The Parse of the unnamed statement failed; if it was malformed, the server kept the old."""
    statements = None if relay.client is None else relay.client.statements
    if statements is None or statements.changes == statements.lone_change:
        relay.unnamed = UNKNOWN
        if statements is not None:
            statements.unnamed = None
