"""What an admin command is: its words, its columns, and what it does."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from shardrouter.config import Settings
from shardrouter.errors import AdminError

ANSWER_SECONDS: Final = 10.0  # a worker that blocks its loop for longer is broken


class Ask(Protocol):
    """A question to the parent, or through it to every worker."""

    async def __call__(self, verb: str, **arguments: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class AdminContext:
    """Who asks, and what can be asked."""

    user: str
    ask_all: Ask
    """Ask every worker; returns the list of their answers."""

    parent: Ask
    settings: Callable[[], Settings]
    """The settings in force now."""

    @property
    def is_admin(self) -> bool:
        """In ``proxy.admin_users`` now: a reload may have taken the user out."""
        return self.user in self.settings().proxy.admin_users

    async def ask_workers(self, verb: str, **arguments: Any) -> list[Any]:
        """Return the answer of every worker. Raises AdminError when one of them is silent."""
        answers = await self._in_time(self.ask_all(verb, **arguments))
        return list(answers)

    async def ask_parent(self, verb: str, **arguments: Any) -> Any:
        """Return the parent's answer. Raises AdminError when it is silent."""
        return await self._in_time(self.parent(verb, **arguments))

    async def _in_time(self, answer: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            raise AdminError(
                f"the proxy's processes did not answer in {ANSWER_SECONDS:g} s",
                hint="it is not known whether the command was carried out everywhere:"
                " look, and repeat it",
            ) from None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command prints: rows in the order of its columns, and notes for people."""

    rows: Sequence[Sequence[object]] = ()
    notes: Sequence[str] = field(default=())


Run = Callable[[AdminContext, str], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Command:
    """One admin command. ``run(context, argument)`` gets the argument as it was written."""

    words: str
    """In upper case, as ``SHOW CLIENTS``."""

    summary: str
    run: Run
    columns: tuple[str, ...] = ()
    """No columns: it prints no table."""

    argument: str = ""
    """How the argument is called in help: ``[x]`` may be left out, ``x`` must be given, empty: it
    takes none."""

    @property
    def tag(self) -> str:
        """The first word: what the client is told that was done."""
        return self.words.partition(" ")[0]

    @property
    def usage(self) -> str:
        return f"{self.words} {self.argument}".rstrip()


def in_columns(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Answer:
    """Return rows by name as an answer."""
    return Answer([[row[column] for column in columns] for row in rows])
