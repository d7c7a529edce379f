"""One client's session: what it keeps, what is said to it, how it ends.

The relay asks here whenever a message is not just passed on. How a backend is got is in
``attachment``, which one in ``choice``, what statements may do in ``judge``.
"""

from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from shardrouter.errors import (
    BackendLost,
    ClientProtocolError,
    QueryCanceled,
    ShardRouterError,
    StatementRefused,
)
from shardrouter.proxy.relay.attachment import Attachment
from shardrouter.proxy.relay.choice import Choice
from shardrouter.proxy.relay.client_talk import ClientTalk
from shardrouter.proxy.relay.definition import UNKNOWN, Definition
from shardrouter.proxy.relay.judge import Judge
from shardrouter.proxy.relay.state import NO_ROLE
from shardrouter.proxy.relay.statements import Statements
from shardrouter.proxy.relay.verdicts import CLOSED, DROPPED, FORWARD, WAIT
from shardrouter.sql.session_inspection import Residue
from shardrouter.wire import messages

if TYPE_CHECKING:
    from shardrouter.proxy.relay.backend import Backend
    from shardrouter.proxy.relay.pair import BackendRelay
    from shardrouter.proxy.relay.plane import Plane

OWN_PREFIX: Final = "shardrouter."
_IDLE: Final = ord("I")
_QUERY, _CALL, _FLUSH, _TERMINATE = map(ord, "QFHX")
_WITHOUT_BACKEND: Final = frozenset(b"Hdcf")  # Flush; COPY data of a COPY that has ended


class Session:
    """A client that is logged in."""

    def __init__(
        self,
        plane: "Plane",
        number: int,
        transport: Any,
        user: str,
        database: str,
        startup: tuple[tuple[str, str], ...],
        secret: Any,
        address: str,
    ) -> None:
        self.plane = plane
        self.number = number
        self.user = user
        self.database = database
        self.startup = startup
        self.secret = secret
        self.address = address
        self.began_at = monotonic()
        self.key: tuple[int, bytes] | None = None
        self.relay = ClientTalk(
            self,
            transport,
            plane.settings.proxy_session.max_message_bytes,
            plane.fleet.standing,
            plane.plain_texts,
        )
        self.relay.statements = Statements(
            self.relay, self, plane.definitions, plane.settings.proxy_pool.prepared_statements
        )
        self.relay.settings = plane.states.state(startup, NO_ROLE, "")
        self.relay.params = plane.nothing_reported
        self.mode = plane.settings.proxy_pool.mode
        self.choice = Choice(self)
        self.judge = Judge(self)
        self.pins: tuple[str, ...] = ()
        self.lasting_pins: set[str] = set()
        self.custom_names: set[str] = set()
        self.repeated_at = -1  # how many queries were answered when one was sent again
        self.is_over = False
        self.reason = "the client closed the connection"
        self.attachment = Attachment(self)
        self.choose = self.choice.pool
        self.acquire_slowly = self.attachment.acquire_slowly
        self.not_acquired = self.attachment.not_acquired
        self.hold_input = self.attachment.hold_input
        self.resume_input = self.attachment.resume_input
        self.judge_query = self.judge.query
        self.mark = self.judge.mark

    # Saying no

    def refuse(self, error: ShardRouterError) -> None:
        """Answer the current message with an error, as a server outside a transaction would."""
        if self.attachment.is_logging_in:
            self.attachment.fail(error)
            return
        relay = self.relay
        kind = relay.stream.data[relay.stream.start] if relay.stream.data else 0
        relay.transport.write(error_message("ERROR", error))
        if kind in (_QUERY, _CALL):
            relay.transport.write(messages.ready(b"I"))
        else:
            relay.is_refusing = True
        self.judge.note_refusal()

    def end_with(self, error: ShardRouterError) -> None:
        """Say why, and close the connection."""
        if self.is_over:
            return
        self.reason = error.message
        backend = self.relay.backend
        if backend is None or not backend.stream.left:  # else it would be read as part of a row
            self.relay.transport.write(error_message("FATAL", error))
        self.close()

    def close(self) -> None:
        """Close the connection; ``client_lost`` follows at once."""
        self.relay.transport.close()
        self.client_lost(None)

    def refuse_length(self) -> None:
        """The client declared a length that no message has."""
        self.relay.flush()
        self.end_with(ClientProtocolError("invalid message length"))

    # Messages that are not passed on as they are

    def enter(self, kind: int) -> int:
        """Decide on a message that came while there is no backend."""
        if kind in _WITHOUT_BACKEND:
            return DROPPED
        if kind not in (ord("E"), _CALL):
            return self.take(kind)
        return FORWARD if self.relay.acquire() else self.not_acquired()

    def take(self, kind: int) -> int:
        """Decide on a message that no table lists."""
        self.relay.flush()
        if kind == _TERMINATE:
            if self.judge.wait_until_quiet():
                return WAIT  # what was asked before is answered first
            self.close()
        elif kind == _FLUSH:
            self.end_with(ClientProtocolError("invalid message format"))
        else:
            self.end_with(ClientProtocolError(f"invalid frontend message type {kind}"))
        return CLOSED

    def watched(self, kind: int) -> int:
        """Decide on a message of a client that a new topology concerns."""
        return self.plane.holding.before(self, kind)

    def sync_alone(self) -> int:
        """Answer a Sync that no backend has to answer."""
        self.relay.transport.write(messages.ready(b"I"))
        return DROPPED

    # Prepared statements (called by ``statements``)

    def define(self, body: bytes) -> Definition:
        return self.judge.define(body)

    def define_long(self, beginning: bytes) -> Definition:
        return self.judge.define_long(beginning)

    def judge_parse(self, definition: Definition) -> Definition | None:
        return self.judge.parse(definition)

    def judge_use(self, definition: Definition) -> None:
        self.judge.use(definition)

    def long_parse(self, definition: Definition, name_bytes: int) -> bytes:
        """Return the beginning of a long Parse under the name it has on backends."""
        stream = self.relay.stream
        length = int.from_bytes(stream.data[stream.start + 1 : stream.start + 5])
        length += len(definition.name) - name_bytes
        rest = stream.data[stream.start + 5 + name_bytes : stream.end]
        return b"P" + length.to_bytes(4) + definition.name + rest

    def doubt_unnamed(self) -> None:
        """A query takes the unnamed statement away, unless it is skipped or lost in a COPY."""
        self.relay.backend.unnamed = UNKNOWN
        self.relay.statements.changes += 1

    def bring(self, definition: Definition) -> None:
        self.judge.sql.bring(definition)

    def count_eviction(self) -> None:
        self.plane.evictions += 1

    # What the backend tells

    def statement_failed(self) -> None:
        """The server answered a statement with an error."""
        self.judge.statement_failed()

    def backend_is_quiet(self) -> None:
        """What waited for the last answer can be taken now."""
        self.judge.sql.settled()
        if self.relay.is_waiting:
            self.attachment.go_on()

    def statements_are_known(self, backend: "Backend") -> None:
        """What was asked about prepared statements is answered: a name may have waited for it."""
        if self.relay.is_waiting and self.relay.backend is backend.relay:
            self.attachment.go_on()

    def in_transaction(self) -> None:
        """An exchange ended inside a transaction."""
        if self.mode == "statement":
            self.end_with(
                StatementRefused(
                    "transactions of several statements are not possible in statement pooling",
                    hint='set proxy_pool.mode = "transaction"',
                )
            )

    def learn(self, backend: "Backend", residue: Residue) -> None:
        """Take what the server says its session holds."""
        states = self.plane.states
        found = dict(residue.settings)
        backend.relay.settings = states.state(
            residue.settings, residue.role, residue.session_authorization
        )
        own = {name: found.pop(name) for name in list(found) if name.startswith(OWN_PREFIX)}
        self.judge.learn_own(own)
        for name, value in self.startup:
            found.setdefault(name, value)  # RESET means the value of the login
        self.relay.settings = states.state(
            found.items(), residue.role, residue.session_authorization
        )
        for reason in set(residue.pins) - set(self.pins):
            self.plane.pin_counts[reason] += 1
        self.pins = residue.pins
        self._keep()
        if self.relay.settings is not backend.relay.settings:
            self.attachment.restore(backend)

    def pin(self, reason: str) -> None:
        """Keep the client on its backend for the rest of the session."""
        if reason not in self.lasting_pins:
            self.plane.pin_counts[reason] += 1
        self.lasting_pins.add(reason)
        self._keep()

    def reset_settings(self) -> None:
        """Return to the settings of the login; no backend is attached."""
        self.relay.settings = self.plane.states.state(self.startup, NO_ROLE, "")
        self.custom_names.clear()

    def check_idle_transaction(self, now: float, limit_seconds: float) -> None:
        """End a client that leaves its transaction idle for too long."""
        if now - max(self.relay.started, self.relay.answered_at) > limit_seconds:
            self.end_with(
                StatementRefused(
                    "terminating connection due to idle-in-transaction timeout",
                    sqlstate="25P03",
                    hint="raise proxy_pool.transaction_idle_seconds, or end transactions sooner",
                )
            )

    def unpin_all(self) -> None:
        """Everything was discarded."""
        self.lasting_pins.clear()
        self._keep()

    def _keep(self) -> None:
        self.relay.keeps = bool(self.pins or self.lasting_pins) or self.mode == "session"

    @property
    def pinned(self) -> str | None:
        """Why the client keeps its backend."""
        reasons = [*self.pins, *sorted(self.lasting_pins)]
        return ", ".join(reasons) or None

    def backend_lost(self, error: BackendLost, *, is_silent: bool) -> None:
        """The backend is gone in the middle of an exchange, a transaction or a pin."""
        self.relay.backend = None
        self.plane.count_loss(self)
        if is_silent:
            self.reason = error.message
            self.close()
        else:
            self.end_with(error)

    def state(self) -> str:
        """Return what the client does, as SHOW CLIENTS tells it."""
        backend = self.relay.backend
        if self.plane.holding.since(self) is not None:
            return "held"
        if self.relay.is_waiting and backend is None:
            return "waiting"
        if backend is None:
            return "idle"
        if backend.stream.owed():
            return "active"
        return "idle" if backend.stream.status == _IDLE else "in transaction"

    def is_at_rest(self) -> bool:
        """True between transactions, with nothing half sent."""
        return self.state() == "idle" and not self.relay.stream.rest()

    # Ending

    def cancel(self) -> None:
        """Cancel what the client waits for, if it waits for anything."""
        backend = self.relay.backend
        is_held = self.plane.holding.since(self) is not None
        if backend is not None and not is_held:
            backend.keeper.cancel()
        elif self.relay.is_waiting:
            self.attachment.fail(QueryCanceled())

    def client_lost(self, error: Exception | None) -> None:
        """The connection to the client ended."""
        if self.is_over:
            return
        self.is_over = True
        self.attachment.give_up()
        backend = self.relay.backend
        if backend is not None:
            self._leave(backend)
        self.plane.forget(self)

    def _leave(self, relay: "BackendRelay") -> None:
        keeper: Backend = relay.keeper
        is_cut = self.relay.stream.left > 0 and not self.relay.is_dropping
        is_as_found = (
            not self.relay.keeps
            and not relay.suspicion
            and not relay.is_held
            and not relay.is_doubtful
            and not relay.stream.owed()
            and not relay.stream.is_skipping
            and relay.stream.status == _IDLE
        )
        relay.detach()
        if is_cut:
            keeper.abort()  # half a message was sent: nothing can follow it
        elif is_as_found:
            keeper.give_back()
        elif keeper.cancels:
            keeper.abort()  # the cancel must not reach the next one
        else:
            keeper.clean()


def error_message(severity: str, error: ShardRouterError) -> bytes:
    """Return the ErrorResponse of one of our errors."""
    where = ", ".join(
        f"{name} {value}"
        for name, value in (("shard", error.shard), ("node", error.node), ("epoch", error.epoch))
        if value is not None
    )
    text = f"{error.message} [{where}]" if where else error.message
    return messages.error_response(severity, error.sqlstate, text, error.hint)
