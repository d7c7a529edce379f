"""PREPARE, EXECUTE, DEALLOCATE and DISCARD as SQL, over backends that come and go.

A statement prepared by SQL gets a name of ours on backends, as those of the protocol do, and is
prepared again where it is executed. Only simple queries of one statement are rewritten; every
other form is left to the server, which then tells that it has such a statement: that pins.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from shardrouter.errors import StatementRefused
from shardrouter.proxy.relay.definition import SQL_MARK, UNKNOWN, Definition
from shardrouter.proxy.relay.own_answers import OwnAnswer
from shardrouter.proxy.relay.undecided import Asked
from shardrouter.proxy.relay.verdicts import DROPPED, FORWARD, HELD, WAIT
from shardrouter.sql import Effect, Effects
from shardrouter.sql.effects import Deallocate, Discard, DiscardKind, Execute, Prepare, Statement
from shardrouter.sql.plain import is_plain
from shardrouter.wire import messages
from shardrouter.wire.codes import Owed

if TYPE_CHECKING:
    from shardrouter.proxy.relay.judge import Judge
    from shardrouter.proxy.relay.session import Session

EXISTS_ALREADY: Final = "42P05"
NO_EFFECTS: Final = Effects(Effect.NONE, ())
_OURS: Final = b"_sr"


class SqlStatements:
    """What one session prepared by SQL; the names are shared with the protocol's."""

    def __init__(self, session: "Session", judge: "Judge") -> None:
        self._session = session
        self._judge = judge
        self._pending: tuple[bytes, Definition] | None = None

    def query(self, text: bytes, effects: Effects) -> int:
        """Decide on a simple query that touches prepared statements."""
        statement = effects.statements[0] if len(effects.statements) == 1 else None
        match statement:
            case Prepare():
                return self._prepare(text, statement)
            case Execute():
                return self._execute(text, statement, effects)
            case Deallocate():
                return self._deallocate(statement)
            case Discard(what=DiscardKind.ALL):
                return self._discard_all()
        if not any(isinstance(each, Prepare) for each in effects.statements):
            self._forget_on_backend()
        return FORWARD  # with a PREPARE: the server says that it has one, which pins

    def note(self, effects: Effects) -> None:
        """A text that was not rewritten is sent: what it takes away is taken from others, too."""
        session = self._session
        is_open = session.relay.backend.stream.status != ord("I")
        for statement in effects.statements:
            if is_open and isinstance(statement, Discard) and statement.what is DiscardKind.ALL:
                continue  # the server refuses it inside a transaction
            is_all = isinstance(statement, Deallocate) and statement.name is None
            if is_all or (isinstance(statement, Discard) and statement.what is DiscardKind.ALL):
                session.relay.statements.names.clear()
            if isinstance(statement, Deallocate | Discard):
                session.relay.backend.keeper.forgets_statements = True

    def settled(self) -> None:
        """All that was asked is answered: what was prepared is."""
        self._pending = None

    def statement_failed(self) -> None:
        """A statement of the client failed: it may have been the PREPARE."""
        if self._pending is None:
            return
        (name, definition), self._pending = self._pending, None
        self._session.relay.statements.names.pop(name, None)
        backend = self._session.relay.backend
        if backend is not None:
            backend.prepared.pop(definition, None)

    def _prepare(self, text: bytes, statement: Prepare) -> int:
        if self._judge.wait_until_quiet():
            return WAIT
        relay = self._session.relay
        if relay.backend is None and not relay.acquire():
            return self._session.not_acquired()
        if self._judge.is_failed():
            return FORWARD
        name = statement.name.value
        if name in relay.statements.names:
            self._judge.refuse(
                StatementRefused(
                    f'prepared statement "{name.decode(errors="replace")}" already exists',
                    sqlstate="42P05",
                    hint="DEALLOCATE it first",
                )
            )
            return DROPPED
        definition = self._definition(statement)
        relay.statements.names[name] = definition
        if definition in relay.backend.prepared:
            return self._judge.answer(messages.command_complete("PREPARE"))
        self._pending = (name, definition)
        relay.backend.prepared[definition] = True
        self._put_query(sql_prepare(definition))
        relay.backend.is_held = True  # ``settled`` comes when the answer is there
        return HELD

    def _definition(self, statement: Prepare) -> Definition:
        key = SQL_MARK + statement.types + b"\0" + statement.body
        definitions = self._session.plane.definitions
        found = definitions.get(key)
        if found is None:
            plain = is_plain(statement.body)
            effects = NO_EFFECTS if plain else self._judge.effects(statement.body)
            found = definitions.add(key, effects, is_plain=plain)
        return found

    def _execute(self, text: bytes, statement: Execute, effects: Effects) -> int:
        relay = self._session.relay
        name = statement.name.value
        definition = relay.statements.names.get(name)
        if definition is None:
            return FORWARD
        if self._judge.wait_until_quiet():
            return WAIT
        if relay.backend is None and not relay.acquire():
            return self._session.not_acquired()
        if not self._judge.is_failed() and definition not in relay.backend.prepared:
            self._bring(definition)
        own = effects.flags & ~(Effect.SUSPECT | Effect.STATEMENTS)
        self._judge.use(definition, replace(effects, flags=own))
        self._judge.mark()
        name_in_text = statement.name
        self._put_query(text[: name_in_text.start] + definition.name + text[name_in_text.end :])
        return DROPPED

    def bring(self, definition: Definition) -> None:
        """Have a statement for a Bind or Describe that no Parse makes, where that is possible.

        Else the server says by its name that there is none.
        """
        backend = self._session.relay.backend
        if definition.body is not None and not backend.stream.owed():
            self._bring(definition)
            backend.unnamed = UNKNOWN  # a simple query was sent

    def _bring(self, definition: Definition) -> None:
        """Prepare a statement on the backend, with the answer kept from the client."""
        relay = self._session.relay
        backend = relay.backend
        backend.prepared[definition] = True
        body = definition.body or b""
        if body.startswith(SQL_MARK):
            relay.put(messages.query(sql_prepare(definition)))
        else:
            relay.put(definition.named_parse)
            relay.put(messages.sync())
            backend.parsing.append((Asked.PREPARED, definition, None))
            backend.stream.expect(int(Owed.CLOSE_HIDDEN))
            backend.stream.expect(int(Owed.PARSE_HIDDEN))

        def note(answer: OwnAnswer) -> None:
            if answer.error is not None and answer.error.get("C") != EXISTS_ALREADY:
                backend.prepared.pop(definition, None)

        backend.keeper.expect_own(note)

    def _deallocate(self, statement: Deallocate) -> int:
        if self._judge.wait_until_quiet():
            return WAIT
        names = self._session.relay.statements.names
        if self._judge.is_failed():
            return FORWARD
        if statement.name is None:
            if "PREPARE" in self._session.pins:
                self._forget_on_backend()
                names.clear()
                return FORWARD
            names.clear()
            return self._judge.answer(messages.command_complete("DEALLOCATE ALL"))
        name = statement.name.value
        if names.pop(name, None) is not None:
            return self._judge.answer(messages.command_complete("DEALLOCATE"))
        return FORWARD

    def _discard_all(self) -> int:
        if self._judge.wait_until_quiet():
            return WAIT
        session = self._session
        backend = session.relay.backend
        if backend is not None and backend.stream.status != ord("I"):
            return FORWARD  # the server refuses it inside a transaction
        session.relay.statements.names.clear()
        session.relay.statements.unnamed = None
        self._judge.own.reset_all(session.plane.fleet.topology)
        if backend is None:
            session.reset_settings()
            return self._judge.answer(messages.command_complete("DISCARD ALL"))
        session.unpin_all()
        self._forget_on_backend()
        return FORWARD

    def _forget_on_backend(self) -> None:
        """What is prepared on the backend will be gone, or is not known any more."""
        backend = self._session.relay.backend
        if backend is not None:
            backend.prepared.clear()
            backend.keeper.forgets_statements = True

    def _put_query(self, text: bytes) -> None:
        relay = self._session.relay
        relay.put(messages.query(text))
        relay.start()
        relay.text = text
        relay.backend.unnamed = UNKNOWN
        relay.statements.unnamed = None
        relay.statements.changes += 1
        relay.backend.stream.expect(int(Owed.QUERY))


def sql_prepare(definition: Definition) -> bytes:
    """Return the PREPARE of a statement that was prepared by SQL."""
    assert definition.body is not None
    types, _, body = definition.body[len(SQL_MARK) :].partition(b"\0")
    return b"PREPARE " + definition.name + types + b" AS " + body


def is_ours(statement: Statement) -> bool:
    """True when a statement names a prepared statement as only the proxy does."""
    named = statement.name if isinstance(statement, Prepare | Execute | Deallocate) else None
    return named is not None and named.value.startswith(_OURS)
