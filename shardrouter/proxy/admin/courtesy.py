"""Statements that drivers send by themselves, and that mean nothing to the admin database.

psycopg begins a transaction before the first command, JDBC sets parameters. They get the answer
that Postgres gives, and have no effect but on the transaction status.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

IDLE: Final = b"I"
IN_TRANSACTION: Final = b"T"
FAILED: Final = b"E"


@dataclass(frozen=True, slots=True)
class Courtesy:
    """A statement that is only answered."""

    tag: str
    status: bytes | None = None
    """The transaction status afterwards; None: as it was."""


_BY_FIRST_WORD: Final = {
    "BEGIN": Courtesy("BEGIN", IN_TRANSACTION),
    "START": Courtesy("START TRANSACTION", IN_TRANSACTION),
    "COMMIT": Courtesy("COMMIT", IDLE),
    "END": Courtesy("COMMIT", IDLE),
    "ROLLBACK": Courtesy("ROLLBACK", IDLE),
    "ABORT": Courtesy("ROLLBACK", IDLE),
    "SET": Courtesy("SET"),
    "RESET": Courtesy("RESET"),
    "DISCARD": Courtesy("DISCARD ALL"),
}


def courtesy_of(words: Sequence[str]) -> Courtesy | None:
    """Return the courtesy a statement is, None for a command."""
    return _BY_FIRST_WORD.get(words[0].upper())
