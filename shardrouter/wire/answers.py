"""The table of what a backend may say while it owes what, and what that means.

What is not listed may not come: then nothing of the connection can be trusted any more.
docs/flows/proxy.md shows the table in words.
"""

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Final

from shardrouter.wire.codes import Owed


class Action(IntEnum):
    """What a message does."""

    BROKEN = 0
    PASS = 1
    """It goes to the client."""

    NEXT = 2
    """It goes to the client and was the answer: the next one in the plan is due."""

    READY = 3
    HIDE_NEXT = 4
    """It was the answer to something the client did not ask."""

    PARSED = 5
    """As NEXT, and the statement exists."""

    HIDE_PARSED = 6
    FAIL = 7
    """An error: the rest up to Sync is skipped where it was an extended query."""

    EVENT = 8
    """It goes to the client, and we take note."""

    COPY_IN = 9
    OWN = 10
    """Part of an answer to us."""

    OWN_READY = 11
    COPY_DONE = 12
    COPY_FAIL = 13


_UNASKED: Final[Mapping[str, Action]] = {
    "N": Action.PASS,
    "S": Action.EVENT,
    "A": Action.EVENT,
    "E": Action.FAIL,
}

ANSWERS: Final[Mapping[Owed, Mapping[str, Action]]] = {
    Owed.NOTHING: {**_UNASKED, "N": Action.EVENT},  # seen whole: its rest is nobody else's
    Owed.QUERY: {
        **_UNASKED,
        **dict.fromkeys("TDCIHdc", Action.PASS),
        "G": Action.COPY_IN,
        "Z": Action.READY,
    },
    Owed.SYNC: {**_UNASKED, "Z": Action.READY},
    Owed.CALL: {**_UNASKED, "V": Action.PASS, "Z": Action.READY},
    Owed.PARSE: {**_UNASKED, "1": Action.PARSED},
    Owed.PARSE_UNNAMED: {**_UNASKED, "1": Action.NEXT},
    Owed.PARSE_HIDDEN: {**_UNASKED, "1": Action.HIDE_PARSED},
    Owed.BIND: {**_UNASKED, "2": Action.NEXT},
    Owed.DESCRIBE: {**_UNASKED, "t": Action.PASS, "T": Action.NEXT, "n": Action.NEXT},
    Owed.EXECUTE: {
        **_UNASKED,
        **dict.fromkeys("DHdc", Action.PASS),
        **dict.fromkeys("CIs", Action.NEXT),
        "G": Action.COPY_IN,
    },
    Owed.QUERY_COPY: {**_UNASKED, "C": Action.COPY_DONE, "E": Action.COPY_FAIL},
    Owed.EXECUTE_COPY: {**_UNASKED, "C": Action.COPY_DONE, "E": Action.COPY_FAIL},
    Owed.CLOSE: {**_UNASKED, "3": Action.NEXT},
    Owed.CLOSE_HIDDEN: {**_UNASKED, "3": Action.HIDE_NEXT},
    Owed.OWN: {**dict.fromkeys("TDCIENS", Action.OWN), "A": Action.EVENT, "Z": Action.OWN_READY},
}
"""By what stands at the head of the plan. CLOSE_FAKE never does: it is answered when it gets there.
Nor do the marks of COPY: they are dropped there."""

WIDTH: Final = 32
"""Entries of the flat table for one message type: more than there are codes of ``Owed``."""


def flat_table() -> bytes:
    """Return the actions as bytes, at ``type * WIDTH + owed``."""
    table = bytearray(256 * WIDTH)
    for at, action in _entries():
        table[at] = action
    return bytes(table)


def _entries() -> Iterator[tuple[int, Action]]:
    for owed, answers in ANSWERS.items():
        for kind, action in answers.items():
            yield ord(kind) * WIDTH + owed, action
