"""Numbers that the hot streams and their callers share: what a backend owes, what was seen.

The plan of a backend is a row of ``Owed``: one for each message it was sent and will answer. Only
what stands at its head says whose answer the next byte belongs to.
"""

from enum import IntEnum, IntFlag
from typing import Final


class Owed(IntEnum):
    """What a backend still has to answer, by the message it answers."""

    NOTHING = 0
    QUERY = 1
    SYNC = 2
    CALL = 3
    PARSE = 4
    BIND = 5
    DESCRIBE = 6
    EXECUTE = 7
    CLOSE = 8
    PARSE_HIDDEN = 9
    """A Parse the client did not send: its answer is kept from the client."""

    CLOSE_HIDDEN = 10
    CLOSE_FAKE = 12
    """A Close the backend was not sent, as it keeps the statement: answered by us in its turn."""

    OWN = 13
    """A simple query of the proxy itself: nothing of its answer reaches the client."""

    PARSE_UNNAMED = 14
    """A Parse of the unnamed statement: nobody but this client has to know how it ended."""

    QUERY_COPY = 15
    """A QUERY whose COPY FROM STDIN the server reads now."""

    EXECUTE_COPY = 16
    COPY_DATA = 17
    """Not owed: from here on the client sent CopyData, if the server reads a COPY by then."""

    COPY_END = 18
    """Not owed: CopyDone or CopyFail, which is ignored outside a COPY."""


class Seen(IntFlag):
    """What a chunk of backend bytes held, beside bytes to pass on."""

    READY = 1
    """At least one ReadyForQuery."""

    QUIET = 2
    """The last ReadyForQuery answered the last thing owed."""

    EVENTS = 4
    """``events`` is not empty."""

    CUT = 8
    """Only ``pieces`` go to the client, not the chunk as it came."""

    BROKEN = 16
    """Not what a server may say here: nothing of this connection can be trusted any more."""

    PARSED = 32
    """``outcomes`` is not empty."""

    UNNAMED_LOST = 128
    """A Parse of the unnamed statement failed, or was skipped: there is none now."""

    DOUBTFUL = 64
    """Which Sync belongs to what is not certain: the backend must not be used by another client."""

    RARE = EVENTS | BROKEN | PARSED | DOUBTFUL | UNNAMED_LOST
    """What is looked at by ordinary Python."""


class Outcome(IntEnum):
    """How a Parse ended, or a Close of ours."""

    DONE = 1
    FAILED = 2
    SKIPPED = 3
    """The server did not look at it: something before it failed."""


FOR_US: Final = 256
"""Added to the message type of an event that answers a query of the proxy itself."""


class Kind(IntEnum):
    """What ``ClientStream.next`` returns beside message types."""

    NONE = 256
    CONTINUED = 257
    """More of a message whose beginning was returned before."""

    BROKEN = 258
    """A length that no message has."""
