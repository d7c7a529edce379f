"""Answers of a backend to questions of ours, as they come in."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class OwnAnswer:
    """The answer to a question of ours, as it comes in."""

    then: Callable[["OwnAnswer"], None]
    asked_at: float
    rows: list[tuple[str | None, ...]] = field(default_factory=list)
    error: dict[str, str] | None = None


def read_row(body: bytes) -> tuple[str | None, ...]:
    """Return the columns of a DataRow in text form."""
    columns: list[str | None] = []
    at = 2
    for _ in range(int.from_bytes(body[:2])):
        size = int.from_bytes(body[at : at + 4], signed=True)
        at += 4
        if size < 0:
            columns.append(None)
            continue
        columns.append(body[at : at + size].decode("utf-8", "surrogateescape"))
        at += size
    return tuple(columns)


def unused(answer: OwnAnswer) -> None:
    """Take an answer that tells nothing."""
