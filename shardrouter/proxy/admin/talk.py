"""The talk with an admin client: messages in, bytes out, in simple and extended protocol.

No sockets: ``AdminConnection`` feeds the messages one after the other and sends what comes back.
Columns are text in both formats, so that a client that asks for binary gets the same bytes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shardrouter.control.tasks import spawn
from shardrouter.errors import AdminError, AdminSyntaxError, ClientProtocolError, ShardRouterError
from shardrouter.proxy.admin.cells import row_of
from shardrouter.proxy.admin.command import AdminContext, Answer
from shardrouter.proxy.admin.commands import Call, call_of
from shardrouter.proxy.admin.courtesy import FAILED, IDLE, IN_TRANSACTION, Courtesy, courtesy_of
from shardrouter.proxy.admin.fields import Fields
from shardrouter.proxy.admin.words import statements
from shardrouter.wire import messages

logger = logging.getLogger(__name__)

MOST_NAMES: Final = 1000  # prepared statements and portals of one client
MESSAGE_TYPES: Final = frozenset(b"QPBDECSHXFdcf")

Step = Call | Courtesy


@dataclass(slots=True)
class _Portal:
    """A statement on its way: None rows were not asked for yet."""

    step: Step | None
    rows: Sequence[Sequence[object]] | None = None
    sent: int = 0


class AdminTalk:
    """What one client said and what is open. Messages are answered one at a time."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._status = IDLE
        self._skips_to_sync = False
        self._statements: dict[str, Step | None] = {}
        self._portals: dict[str, _Portal] = {}
        self._running: asyncio.Task[Answer] | None = None
        self._is_cancelled = False
        self._extended: Mapping[int, Callable[[Fields], Awaitable[bytes]]] = {
            ord("P"): self._parse,
            ord("B"): self._bind,
            ord("D"): self._describe,
            ord("E"): self._execute,
            ord("C"): self._close,
        }

    async def answer(self, kind: int, body: bytes) -> bytes:
        """Return what goes back for one message. Raises ClientProtocolError: close then."""
        if kind == ord("S"):
            return self._sync()
        if self._skips_to_sync or kind in b"Hdcf":  # COPY messages outside COPY are ignored
            return b""
        if kind == ord("Q"):
            return await self._query(Fields(body))
        if kind == ord("F"):
            failure = messages.error_response(
                "ERROR", "0A000", "the admin database has no functions"
            )
            return self._failed(failure) + messages.ready(self._status)
        handler = self._extended.get(kind)
        if handler is None:
            raise ClientProtocolError(f"message type {chr(kind)!r} is not understood")
        try:
            return await handler(Fields(body))
        except ClientProtocolError:
            raise
        except ShardRouterError as error:
            self._skips_to_sync = True
            return self._failed(_error(error))

    def cancel(self) -> None:
        """End the command that runs, if one does: a cancel request came for this client."""
        if self._running is not None:
            self._is_cancelled = True
            self._running.cancel()

    def _sync(self) -> bytes:
        self._skips_to_sync = False
        if self._status == IDLE:
            self._portals.clear()
        return messages.ready(self._status)

    def _failed(self, error: bytes) -> bytes:
        if self._status == IN_TRANSACTION:
            self._status = FAILED
        return error

    async def _query(self, fields: Fields) -> bytes:
        text = fields.text()
        fields.end()
        said: list[bytes] = []
        try:
            steps = [_step(words) for words in statements(text)]
            for step in steps:
                await self._whole(step, said)
            if not steps:
                said.append(messages.EMPTY_QUERY_RESPONSE)
        except ShardRouterError as error:
            said.append(self._failed(_error(error)))
        self._portals.pop("", None)
        said.append(messages.ready(self._status))
        return b"".join(said)

    async def _whole(self, step: Step, said: list[bytes]) -> None:
        """Say all that a statement of the simple protocol gives."""
        columns = _columns(step)
        rows, notes, tag = await self._run(step)
        head = messages.row_description(columns) if columns else b""
        said += (head, notes, _rows(rows), messages.command_complete(tag))

    async def _run(self, step: Step) -> tuple[Sequence[Sequence[object]], bytes, str]:
        """Carry a statement out: rows, notices, tag."""
        if isinstance(step, Courtesy):
            if self._status == FAILED and step.status == IDLE:
                step = Courtesy("ROLLBACK", IDLE)
            elif self._status == FAILED:
                raise _FailedTransaction
            self._status = step.status or self._status
            return (), b"", step.tag
        if self._status == FAILED:
            raise _FailedTransaction
        answer = await self._cancellable(step)
        notes = b"".join(messages.notice("NOTICE", "00000", note) for note in answer.notes)
        return answer.rows, notes, step.command.tag

    async def _cancellable(self, call: Call) -> Answer:
        self._is_cancelled = False
        self._running = spawn(call.run(self._context), name=f"admin {call.command.words}")
        try:
            return await self._running
        except asyncio.CancelledError:
            if not self._is_cancelled:
                raise
            raise _Cancelled from None
        finally:
            self._running = None

    async def _parse(self, fields: Fields) -> bytes:
        name, text = fields.text(), fields.text()
        for _ in range(fields.int16()):
            fields.int32()
        fields.end()
        found = statements(text)
        if len(found) > 1:
            raise AdminSyntaxError("cannot insert multiple commands into a prepared statement")
        if name and name in self._statements:
            raise _NameTaken(f"prepared statement {name!r} already exists")
        _check_room(self._statements)
        self._statements[name] = _step(found[0]) if found else None
        return messages.PARSE_COMPLETE

    async def _bind(self, fields: Fields) -> bytes:
        name, statement = fields.text(), fields.text()
        for _ in range(fields.int16()):
            fields.int16()
        parameters = fields.int16()
        if parameters:
            raise ClientProtocolError(
                f"bind message supplies {parameters} parameters, and commands of the admin"
                " database take none"
            )
        for _ in range(fields.int16()):
            fields.int16()
        fields.end()
        step = self._statement(statement)
        _check_room(self._portals)
        self._portals[name] = _Portal(step)
        return messages.BIND_COMPLETE

    async def _describe(self, fields: Fields) -> bytes:
        kind, name = fields.byte(), fields.text()
        fields.end()
        if kind == b"S":
            return messages.parameter_description(()) + _description(self._statement(name))
        return _description(self._portal(name).step)

    async def _execute(self, fields: Fields) -> bytes:
        name, most = fields.text(), fields.int32()
        fields.end()
        portal = self._portal(name)
        if portal.step is None:
            return messages.EMPTY_QUERY_RESPONSE
        notes, tag = b"", _tag(portal.step)
        if portal.rows is None:
            portal.rows, notes, tag = await self._run(portal.step)
        end = portal.sent + most if most > 0 else len(portal.rows)
        rows = portal.rows[portal.sent : end]
        portal.sent += len(rows)
        if portal.sent < len(portal.rows):
            return notes + _rows(rows) + messages.PORTAL_SUSPENDED
        return notes + _rows(rows) + messages.command_complete(tag)

    async def _close(self, fields: Fields) -> bytes:
        kind, name = fields.byte(), fields.text()
        fields.end()
        (self._statements if kind == b"S" else self._portals).pop(name, None)
        return messages.CLOSE_COMPLETE

    def _statement(self, name: str) -> Step | None:
        if name not in self._statements:
            raise _NoStatement(f"prepared statement {name!r} does not exist")
        return self._statements[name]

    def _portal(self, name: str) -> _Portal:
        if name not in self._portals:
            raise _NoPortal(f"portal {name!r} does not exist")
        return self._portals[name]


class _Cancelled(AdminError):
    """canceling statement due to user request"""

    sqlstate = "57014"


class _FailedTransaction(AdminError):
    """current transaction is aborted, commands ignored until end of transaction block"""

    sqlstate = "25P02"


class _NoStatement(AdminError):
    """No such prepared statement."""

    sqlstate = "26000"


class _NoPortal(AdminError):
    """No such portal."""

    sqlstate = "34000"


class _NameTaken(AdminError):
    """The name of a prepared statement is taken."""

    sqlstate = "42P05"


class _TooManyNames(AdminError):
    """Too many prepared statements or portals are open."""

    sqlstate = "54000"


def _step(words: Sequence[str]) -> Step:
    return courtesy_of(words) or call_of(words)


def _columns(step: Step | None) -> tuple[str, ...]:
    return step.command.columns if isinstance(step, Call) else ()


def _tag(step: Step) -> str:
    return step.command.tag if isinstance(step, Call) else step.tag


def _description(step: Step | None) -> bytes:
    columns = _columns(step)
    return messages.row_description(columns) if columns else messages.NO_DATA


def _rows(rows: Sequence[Sequence[object]]) -> bytes:
    return b"".join(messages.data_row(row_of(row)) for row in rows)


def _check_room(names: Mapping[str, object]) -> None:
    if len(names) >= MOST_NAMES:
        raise _TooManyNames


def _error(error: ShardRouterError) -> bytes:
    return messages.error_response("ERROR", error.sqlstate, error.message, error.hint)
