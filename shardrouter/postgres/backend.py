"""Our connection to a node: an ordinary psycopg connection that knows where its commits landed.

This file and ``joined_begin`` override psycopg internals (here ``BaseConnection._exec_command``,
the generator behind BEGIN and COMMIT of the sync and the async class alike). pyproject.toml pins
the minor version; tests/integration/client (test_joined_begin, test_freshness) fail when they
change.

COMMIT travels together with a question for the WAL position in one simple-protocol message, so
that knowing the position costs no round trip. The commit is durable before the question runs;
Postgres executes the two statements as two transactions.
"""

import select
from collections.abc import Callable, Generator
from typing import Any, Final

import psycopg
from psycopg import errors, generators
from psycopg.pq import ConnStatus, ExecStatus, Format, TransactionStatus
from psycopg.rows import tuple_row

from shardrouter.errors import CommitInDoubt
from shardrouter.postgres.joined_begin import AsyncBackendCursor, BackendCursor
from shardrouter.topology import Position, parse_lsn

POSITION_SQL: Final = (
    "SELECT pg_catalog.pg_current_wal_insert_lsn(),"
    " pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8)"
)
"""The position of a primary that is at or after every commit acknowledged so far.

The insert position also covers commits under ``synchronous_commit = off``. The first eight
digits of the segment's file name are the timeline.
"""

MAX_PEEKS: Final = 4  # reads of an idle connection that says something: words, end of file

_COMMIT_SQL: Final = b"COMMIT; " + POSITION_SQL.encode()
_COMMIT_AGAIN_SQL: Final = b"COMMIT; SELECT pg_catalog.pg_current_wal_insert_lsn()"
"""From the second commit on. A server that takes writes stays on its timeline until it restarts,
and then this connection is gone."""


def read_position(lsn: str, timeline: str) -> Position:
    """Return the position that the two columns of POSITION_SQL tell."""
    return Position(int(timeline, 16), parse_lsn(lsn))


class _KnowsItsCommits:
    """Mixin for psycopg's two connection classes."""

    on_commit: Callable[[Position], None] | None = None
    """Told where each commit landed. A read-only connection has nothing to tell."""

    has_unknown_commit = False
    """A transaction ended without its position being told: see ``may_have_committed``."""

    _timeline: int | None = None
    """Of this connection's commits, known from the first one on."""

    autocommit: Any
    read_only: Any
    _read_only: bool | None
    _begin_statement: bytes
    pgconn: Any
    _pipeline: Any
    _check_connection_ok: Any

    def _exec_command(
        self, command: Any, result_format: Format = Format.TEXT
    ) -> Generator[Any, Any, Any]:
        if self.on_commit is not None and not self.read_only:
            if command == b"COMMIT":
                if self._pipeline is None:
                    return (yield from self._commit_and_locate(self.on_commit))
            elif isinstance(command, bytes) and command.startswith(b"BEGIN"):
                self.transaction_begins()
            elif command == b"ROLLBACK":
                self.has_unknown_commit = False
        return (yield from super()._exec_command(command, result_format))  # type: ignore[misc]

    def transaction_begins(self) -> None:
        """Note that a BEGIN is sent."""
        self.has_unknown_commit = self.on_commit is not None and not self.read_only

    def is_begin_due(self) -> bool:
        """True when the next statement starts a transaction, and may take BEGIN along."""
        return (
            not self.autocommit
            and self._pipeline is None
            and self.pgconn.transaction_status == TransactionStatus.IDLE
        )

    def _commit_and_locate(self, tell: Callable[[Position], None]) -> Generator[Any, Any, Any]:
        self._check_connection_ok()
        self.pgconn.send_query(_COMMIT_SQL if self._timeline is None else _COMMIT_AGAIN_SQL)
        try:
            results = yield from generators.execute(self.pgconn)
        except psycopg.OperationalError as error:
            raise CommitInDoubt(
                f"the connection broke while COMMIT was under way: {error}".strip(),
                hint="it may have been committed or not: read the rows before you write again",
            ) from error
        committed = results[0]
        if committed.status != ExecStatus.COMMAND_OK:
            raise errors.error_from_result(committed, encoding=self.pgconn._encoding)
        # COMMIT of a failed transaction answers ROLLBACK: nothing was written, nothing to tell.
        if committed.command_status == b"COMMIT":
            located = results[-1]
            if located.status != ExecStatus.TUPLES_OK:
                return committed  # committed, position unknown: has_unknown_commit stays set
            if self._timeline is None:
                self._timeline = int(located.get_value(0, 1), 16)
            tell(Position(self._timeline, parse_lsn(located.get_value(0, 0).decode())))
        self.has_unknown_commit = False
        return committed

    def only_read(self, is_read: bool) -> None:
        """Make the next transactions READ ONLY, or plain again. Sends nothing; outside one only.

        psycopg's own setters do the same, but must be awaited on an async connection.
        """
        self._read_only = True if is_read else None
        self._begin_statement = b"BEGIN READ ONLY" if is_read else b""

    def may_have_committed(self) -> bool:
        """True when a commit may have happened whose position ``on_commit`` was not told.

        That is a COMMIT sent as text, in a pipeline, or by every statement in autocommit mode.
        """
        if self.on_commit is None or self.read_only:
            return False
        return self.has_unknown_commit or bool(self.autocommit)

    def is_surely_dead(self) -> bool:
        """True when the server hung up on this idle connection. Costs one poll, no round trip.

        An idle connection has nothing to read, except that the server closed it or sent a
        notice; psycopg reads what is there and the status tells.
        """
        pgconn = self.pgconn
        poll = select.poll()
        for _ in range(MAX_PEEKS):
            if pgconn.status != ConnStatus.OK:
                return True
            poll.register(pgconn.socket, select.POLLIN)
            if not poll.poll(0):
                return False
            try:
                pgconn.consume_input()  # first the server's last words, then the end of file
            except psycopg.Error:
                return True
        return bool(pgconn.status != ConnStatus.OK)

    def is_as_new(self: Any) -> bool:
        """True when the next user finds what a new connection has: alive, idle, usual settings."""
        return bool(
            not self.closed
            and self.is_idle
            and not self.autocommit
            and self.isolation_level is None
            and self.row_factory is tuple_row
        )

    @property
    def is_idle(self) -> bool:
        """True when no transaction is open and nothing is under way."""
        return bool(self.pgconn.transaction_status == TransactionStatus.IDLE)


class Backend(_KnowsItsCommits, psycopg.Connection[Any]):
    """A psycopg connection to one node."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.cursor_factory = BackendCursor


class AsyncBackend(_KnowsItsCommits, psycopg.AsyncConnection[Any]):
    """An async psycopg connection to one node."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.cursor_factory = AsyncBackendCursor
