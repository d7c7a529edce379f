"""What becomes of a message of the client."""

from enum import IntEnum


class Verdict(IntEnum):
    """The answer to "what shall be done with this message?"."""

    FORWARD = 1
    """It goes to the backend as it is."""

    REPLACED = 2
    """Something else went in its place; a rest that is still to come goes on."""

    DROPPED = 3
    """Answered or ignored here, with all that is still to come of it."""

    WAIT = 4
    """It is taken again when the client gets a backend, or its backend is quiet."""

    CLOSED = 5
    """The client is gone."""

    HELD = 6
    """As DROPPED, and all that follows waits until the backend is quiet."""


FORWARD, REPLACED, DROPPED, WAIT, CLOSED, HELD = Verdict
