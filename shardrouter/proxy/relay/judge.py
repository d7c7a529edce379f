"""Judge the statements of one session that are not plain: what they leave, what they may do.

The text decides only when to ask the server what the session holds; the server's answer decides
(``Session.learn``).
"""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from shardrouter.errors import ShardRouterError, StatementRefused
from shardrouter.proxy.relay.definition import UNKNOWN, Definition
from shardrouter.proxy.relay.own_settings import PREFIX, OwnSettings
from shardrouter.proxy.relay.own_statements import answer_own_setting, kept, own_select, own_set
from shardrouter.proxy.relay.raising import raising
from shardrouter.proxy.relay.sequence_state import SequenceState
from shardrouter.proxy.relay.sql_statements import SqlStatements, is_ours
from shardrouter.proxy.relay.verdicts import CLOSED, DROPPED, FORWARD, WAIT
from shardrouter.sql import Effect, Effects
from shardrouter.sql.effects import Begin, OwnSetting, ResetAll
from shardrouter.wire import messages
from shardrouter.wire.codes import Owed

if TYPE_CHECKING:
    from shardrouter.proxy.relay.pair import BackendRelay
    from shardrouter.proxy.relay.session import Session

INSPECTED: Final = (
    Effect.SETTINGS
    | Effect.OWN_SETTING
    | Effect.MAY_PIN
    | Effect.SUSPECT
    | Effect.STATEMENTS
    | Effect.SEQUENCE
    | Effect.FOREVER
)
LARGE_OBJECT_FUNCTIONS: Final = frozenset(
    (715, 764, 767, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172)
)
"""Numbers in pg_proc of lo_open, loread and their like, which libpq calls so."""

LONG: Final = "long statement"
NO_EFFECTS: Final = Effects(Effect.NONE, ())
_IDLE, _FAILED = ord("I"), ord("E")


class Judge:
    """Decides on one session's statements."""

    def __init__(self, session: "Session") -> None:
        self.session = session
        self.own = OwnSettings(session.choice)
        self.sql = SqlStatements(session, self)
        self.sequences = SequenceState(session)
        self._judged: Effects = NO_EFFECTS
        self._was_refused = False

    def effects(self, text: bytes) -> Effects:
        """Return what a text may leave, as this client's server reads it."""
        return self.session.plane.effects(text, self.session.relay.params)

    # Simple queries

    def query(self, text: bytes) -> int:
        """Decide on a simple query that is not plain. Returns a verdict of ``pair``."""
        effects = self._judged = self.effects(text)
        flags = effects.flags
        if self.session.relay.is_transparent:
            # Only the proxy's settings are not the server's: taken by it they would change nothing.
            return answer_own_setting(self, effects) if flags & Effect.OWN_SETTING else FORWARD
        if self._ends_at_begin(effects):
            return CLOSED
        if self._is_refused(effects):
            return DROPPED
        if flags & Effect.OWN_SETTING:
            return answer_own_setting(self, effects)
        if flags & Effect.SEQUENCE and self.wait_until_quiet():
            return WAIT
        self._read_begin(effects)
        if flags & Effect.STATEMENTS:
            return self.sql.query(text, effects)
        return FORWARD

    def mark(self) -> None:
        """Note on the attached backend what was judged last."""
        session = self.session
        relay = session.relay.backend
        effects = self._judged
        flags = effects.flags
        if session.relay.is_transparent:
            if flags & Effect.FOREVER:
                relay.is_doubtful = True  # closed when its client goes
            return
        if flags & INSPECTED or (session.pins and flags & Effect.MAY_UNPIN):
            relay.suspicion = 1
        session.custom_names.update(name for name in effects.setting_names if "." in name)
        if effects.unknown_setting:
            session.pin("setting of unknown name")
        if flags & Effect.FOREVER:
            session.pin("state that cannot be reset")
            relay.is_doubtful = True
        self.sequences.note(effects)
        if flags & Effect.STATEMENTS:
            self.sql.note(effects)

    def call(self) -> None:
        """A function is called by number: only of large objects' it is known what they leave."""
        session = self.session
        stream = session.relay.stream
        number = int.from_bytes(stream.data[stream.start + 5 : stream.start + 9])
        if session.mode != "session" and number not in LARGE_OBJECT_FUNCTIONS:
            session.relay.backend.suspicion = 1
            session.pin("function call")

    def _read_begin(self, effects: Effects) -> None:
        self.sequences.prepare(effects)
        if self.session.relay.backend is not None:
            return
        first = effects.statements[0] if effects.statements else None
        self.session.choice.reads_only = isinstance(first, Begin) and first.read_only is True
        if any(isinstance(each, ResetAll) for each in effects.statements):
            self.own.reset_all(self.session.plane.fleet.topology)

    def _ends_at_begin(self, effects: Effects) -> bool:
        """End the session of who begins a transaction in statement pooling.

        An error alone would have what follows run outside a transaction.
        """
        is_alone = len(effects.statements) == 1  # with others, it may end there, too
        if self.session.mode != "statement" or not effects.flags & Effect.BEGIN or not is_alone:
            return False
        self.session.in_transaction()
        return True

    def _is_refused(self, effects: Effects) -> bool:
        """Refuse what cannot be done in this pool, or is not wanted here."""
        error = self._objection(effects)
        if error is None:
            return False
        self.refuse(error)
        return True

    def _objection(self, effects: Effects) -> ShardRouterError | None:
        if effects.own_setting_unreadable:
            return StatementRefused(
                "this way to write a setting of the proxy is not understood",
                sqlstate="22023",
                hint="write SET shardrouter.shard = 's0', alone in its statement",
            )
        if any(is_ours(statement) for statement in effects.statements):
            return StatementRefused(
                "names of prepared statements that begin with _sr are the proxy's",
                sqlstate="26000",
                hint="take another name",
            )
        session = self.session
        is_strict = (
            session.plane.settings.proxy_session.pinning == "refuse" or session.mode == "statement"
        )
        if is_strict and effects.pins and session.mode != "session":
            return StatementRefused(
                f"{effects.pins[0]}: not possible in {session.mode} pooling here",
                hint='set proxy_session.pinning = "allow", or proxy_pool.mode = "session"',
            )
        return None

    # Refusals

    def refuse(self, error: ShardRouterError) -> None:
        """Answer the current simple query with an error; inside a transaction it fails, too."""
        session = self.session
        relay = session.relay.backend
        if relay is None or (not relay.stream.owed() and relay.stream.status == _IDLE):
            session.refuse(error)
            self._was_refused = False  # the caller drops the message, nobody will ask
            self._release()
            return
        self.substitute(raising(error))

    def substitute(self, text: str) -> None:
        """Have the backend answer another text in the place of the current simple query."""
        client = self.session.relay
        relay = client.backend
        if relay.stream.is_skipping:
            return
        client.put(messages.query(text))
        client.start()
        relay.unnamed = UNKNOWN
        client.statements.unnamed = None
        client.statements.changes += 1
        relay.stream.expect(int(Owed.QUERY))

    def note_refusal(self) -> None:
        self._was_refused = True

    def was_refused(self) -> bool:
        """Tell whether the current message was answered with an error of ours."""
        refused, self._was_refused = self._was_refused, False
        return refused

    def wait_until_quiet(self) -> bool:
        """True when the backend owes answers: the current message has to wait for them.

        Not for those that come only after a Sync, which the client did not send yet.
        """
        relay = self.session.relay.backend
        if relay is None or not relay.stream.owed() or not relay.stream.will_be_quiet():
            return False
        relay.is_held = True
        return True

    def answer(self, *parts: bytes) -> int:
        """Answer the current simple query here; the backend is quiet, or there is none."""
        relay = self.session.relay.backend
        status = _IDLE if relay is None else relay.stream.status
        self.session.relay.transport.write(b"".join([*parts, messages.ready(bytes([status]))]))
        self._release()
        return DROPPED

    def _release(self) -> None:
        """Nothing was asked of the backend, so no answer of its will set it free."""
        backend = self.session.relay.backend
        if backend is not None:
            # Later: the next who gets it may be answered here too, and so on without end.
            asyncio.get_running_loop().call_soon(self._release_now, backend)

    def _release_now(self, backend: "BackendRelay") -> None:
        if backend.client is self.session.relay and not backend.stream.owed():
            backend.quiet()

    def is_failed(self) -> bool:
        """True inside a transaction that has failed: the server answers everything itself."""
        relay = self.session.relay.backend
        return relay is not None and relay.stream.status == _FAILED

    def statement_failed(self) -> None:
        self.sql.statement_failed()

    # Prepared statements of the protocol

    def define(self, body: bytes) -> Definition:
        """Return the statement of a Parse message that was not seen before."""
        text = body[: body.find(b"\0")]
        plain = self.session.plane.plain_texts.has(text)
        effects = NO_EFFECTS if plain else self.effects(text)
        return self.session.plane.definitions.add(body, effects, plain)

    def define_long(self, beginning: bytes) -> Definition:
        """Return the statement of a Parse that is too long to be kept."""
        number = self.session.plane.definitions.next_number()
        return Definition(number, None, self.effects(beginning), is_plain=False)

    def parse(self, definition: Definition) -> Definition | None:
        """Return the statement to run in the place of this one: often the same; None: wait."""
        if self._ends_at_begin(definition.effects):
            return None
        error = self._objection(definition.effects)
        if error is not None:
            return self._instead(raising(error))
        statements = definition.effects.statements
        first = statements[0] if len(statements) == 1 else None
        if isinstance(first, OwnSetting):
            text = own_select(self, first) if first.verb == "show" else own_set(self, first)
            self.session.choice.take_any_shard()
            return None if text is None else self._instead(text)
        self.use(definition)
        return definition

    def own_parse(self, definition: Definition) -> Definition | None:
        """Return the statement to prepare for a client that has its backend for itself."""
        statements = definition.effects.statements
        first = statements[0] if len(statements) == 1 else None
        if not definition.effects.flags & Effect.OWN_SETTING:
            return definition
        if isinstance(first, OwnSetting) and first.verb == "show":
            text = own_select(self, first)
            return None if text is None else self._instead(text)
        return self._instead(raising(kept(self.session, PREFIX + "*")))

    def use(self, definition: Definition, also: Effects = NO_EFFECTS) -> None:
        """Judge a statement that is run, or may be, ``also`` with what its caller's text does."""
        effects = definition.effects
        if also is not NO_EFFECTS:
            effects = replace(
                effects,
                flags=effects.flags | also.flags,
                setting_names=effects.setting_names + also.setting_names,
            )
        self._judged = effects
        if effects.flags & Effect.OWN_SETTING:
            self.session.choice.take_any_shard()
        self._read_begin(effects)
        if definition.body is None:
            self._judged = NO_EFFECTS
            self.session.pin(LONG)

    def _instead(self, text: str) -> Definition:
        body = text.encode() + b"\0\0\0"
        known = self.session.plane.definitions.get(body)
        return known or self.session.plane.definitions.add(body, NO_EFFECTS, is_plain=True)

    def learn_own(self, found: dict[str, str]) -> None:
        """Take the proxy's settings that were set on a backend, by extended queries."""
        if not found:
            return
        topology = self.session.plane.fleet.topology
        for name, value in found.items():
            try:
                self.own.set(name, value or None, topology)
            except ShardRouterError as error:
                self.session.choice.problem = error
                self.session.choice.changed()
