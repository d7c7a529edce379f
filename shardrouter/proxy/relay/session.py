"""One client's session: which backend it gets, what is said to it, how it ends.

The relay asks here whenever a message is not just passed on. Judging statements is in ``judge``,
the session's own settings are in ``own_settings``, the choice of a node in ``choice``.
"""

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from shardrouter.errors import (
    BackendLost,
    ClientProtocolError,
    QueryCanceled,
    ShardRouterError,
    StatementRefused,
)
from shardrouter.proxy.relay.choice import Choice
from shardrouter.proxy.relay.definition import Definition
from shardrouter.proxy.relay.judge import Judge
from shardrouter.proxy.relay.pair import CLOSED, DROPPED, FORWARD, WAIT, ClientRelay
from shardrouter.proxy.relay.state import NO_ROLE, Reported
from shardrouter.proxy.relay.statements import Statements
from shardrouter.sql.session_inspection import Residue, sync_sql
from shardrouter.wire import messages

if TYPE_CHECKING:
    from shardrouter.proxy.relay.backend import Backend, OwnAnswer
    from shardrouter.proxy.relay.pair import BackendRelay
    from shardrouter.proxy.relay.plane import Plane
    from shardrouter.proxy.relay.pool import NodePool

MOST_HELD_BYTES: Final = 256 * 1024  # of input while a client waits; then its socket is not read
OWN_PREFIX: Final = "shardrouter."
_IDLE: Final = ord("I")
_QUERY, _CALL, _TERMINATE = ord("Q"), ord("F"), ord("X")
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
        self.relay = ClientRelay(
            self,
            transport,
            plane.settings.proxy_session.max_message_bytes,
            plane.fleet.standing,
        )
        self.relay.statements = Statements(
            self.relay, self, plane.definitions, plane.settings.proxy_pool.prepared_statements
        )
        self.relay.settings = plane.states.state(startup, NO_ROLE, "")
        self.relay.params = plane.nothing_reported
        self.mode = plane.settings.proxy_pool.mode
        self.choice = Choice(self)
        self.judge = Judge(self)
        self.prelude = ""
        self.pins: tuple[str, ...] = ()
        self.lasting_pins: set[str] = set()
        self.custom_names: set[str] = set()
        self.waits_for: NodePool | None = None
        self.waits_since = 0.0
        self.is_over = False
        self.reason = "the client closed the connection"
        self.choose = self.choice.pool
        self.judge_query = self.judge.query
        self.mark = self.judge.mark
        self._failure: ShardRouterError | None = None
        self._is_input_held = False
        self._is_acquiring = False
        self._first: asyncio.Future[None] | None = None

    # Getting a backend

    def acquire_slowly(self, pool: "NodePool") -> bool:
        """Attach a backend, or wait for one. True: it is attached already."""
        self._is_acquiring = True
        try:
            found = self._best_idle(pool)
            if found is not None:
                self.attach(found)
            else:
                pool.wait(self)
        except ShardRouterError as error:
            self.refuse(error)
        finally:
            self._is_acquiring = False
        return self.relay.backend is not None

    def _best_idle(self, pool: "NodePool") -> "Backend | None":
        """Take an idle backend, if possible one that needs no change of settings."""
        if pool.is_paused or pool.waiters:
            return None
        idle = pool.idle
        for at in range(len(idle) - 1, -1, -1):
            if idle[at].settings is self.relay.settings and not idle[at].keeper.is_over():
                found: Backend = idle.pop(at).keeper
                return found
        while idle:
            relay = idle.pop()
            found = relay.keeper
            if not found.is_over():
                return found
        return None

    def not_acquired(self) -> int:
        """Say what becomes of the message for which there is no backend now."""
        if self.is_over:
            return CLOSED
        return DROPPED if self.judge.was_refused() else WAIT

    def attach(self, backend: "Backend") -> None:
        """Take a backend that is free, after it was given this session's settings."""
        relay = backend.relay
        sql, self.prelude = self.prelude, ""
        self.relay.is_particular = False
        is_doubted = monotonic() - relay.idle_since > backend.pool.check_after
        if relay.settings is not self.relay.settings:
            sync = sync_sql(_residue(relay.settings), _residue(self.relay.settings))
            sql = f"{sync}; {sql}" if sync and sql else sync or sql
            backend.replays += 1
        if not sql and not is_doubted:
            self._attached(backend)
            return
        backend.reserved_for = self
        backend.state = "preparing"
        problems: list[dict[str, str]] = []
        backend.ask(sql, lambda answer: _collect(problems, answer))
        backend.when_quiet(lambda: self._prepared(backend, problems))

    def _prepared(self, backend: "Backend", problems: list[dict[str, str]]) -> None:
        backend.reserved_for = None
        if problems:
            backend.relay.is_doubtful = True
            backend.give_back()
            self._refuse_settings(problems[0], backend)
            return
        backend.relay.settings = self.relay.settings
        self._attached(backend)

    def _refuse_settings(self, problem: dict[str, str], backend: "Backend") -> None:
        code = problem.get("C", "XX000")
        if self._first is not None:  # the server's own words about what the client asked for
            text = problem.get("M", "the settings of the login are not valid")
            self.fail(StatementRefused(text, sqlstate=code))
            return
        self.end_with(
            StatementRefused(
                f"the settings of this session could not be put on a backend: {problem.get('M')}",
                sqlstate=code,
                node=backend.pool.key.node,
                hint="connect again",
            )
        )

    def _attached(self, backend: "Backend") -> None:
        if self.is_over:
            backend.give_back()
            return
        relay = backend.relay
        backend.state = "attached"
        if relay.params is not self.relay.params:
            self._tell_parameters(relay.params)
        relay.client = self.relay
        self.relay.backend = relay
        if self.mode == "session":
            self.relay.keeps = self.relay.is_transparent = True
        if self.relay.is_write_paused:
            relay.transport.pause_reading()
        if self._first is not None:
            first, self._first = self._first, None
            if not first.done():
                first.set_result(None)
        elif not self._is_acquiring:
            self.go_on()

    def _tell_parameters(self, reported: Reported) -> None:
        """Tell the client what is different on this backend, as a server would on a change."""
        if self.relay.params is not self.plane.nothing_reported:
            for name, value in self.relay.params.changes_to(reported):
                self.relay.transport.write(messages.parameter_status(name, value))
        self.relay.params = reported

    async def first_backend(self) -> None:
        """Attach a backend during the login. Raises ShardRouterError."""
        self._first = asyncio.get_running_loop().create_future()
        first = self._first
        if self.relay.acquire():
            self._first = None
            return
        await first

    def go_on(self) -> None:
        """Take the messages that had to wait."""
        relay = self.relay
        relay.is_waiting = False
        if self._is_input_held:
            self._is_input_held = False
            relay.transport.resume_reading()
        if not self.is_over:
            relay.process()

    def choose_again(self) -> None:
        """The node that was waited for is no longer the right one, or there is something new."""
        self.waits_for = None
        if self._first is not None:
            first = self._first
            if self.relay.acquire() and not first.done():
                self._first = None
                first.set_result(None)
            return
        self.go_on()

    def fail(self, error: ShardRouterError) -> None:
        """There is no backend: refuse the message that waits for one."""
        self.waits_for = None
        if self._first is not None:
            first, self._first = self._first, None
            if not first.done():
                first.set_exception(error)
            return
        self._failure = error
        self.go_on()

    def take_failure(self) -> ShardRouterError | None:
        """Return why the message that is taken again must be refused."""
        failure, self._failure = self._failure, None
        return failure

    # Saying no

    def refuse(self, error: ShardRouterError) -> None:
        """Answer the current message with an error, as a server outside a transaction would."""
        if self._first is not None:
            self.fail(error)
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
            self.close()
        else:
            self.end_with(ClientProtocolError(f"invalid frontend message type {kind}"))
        return CLOSED

    def sync_alone(self) -> int:
        """Answer a Sync that no backend has to answer."""
        self.relay.transport.write(messages.ready(b"I"))
        return DROPPED

    def hold_input(self) -> None:
        """More has come while the client waits."""
        if self.relay.stream.rest() > MOST_HELD_BYTES and not self._is_input_held:
            self._is_input_held = True
            self.relay.transport.pause_reading()

    def resume_input(self) -> None:
        """The backend takes bytes again."""
        if not self._is_input_held and not self.relay.transport.is_closing():
            self.relay.transport.resume_reading()

    # Prepared statements (called by ``statements``)

    def define(self, body: bytes) -> Definition:
        return self.judge.define(body)

    def define_long(self, beginning: bytes) -> Definition:
        return self.judge.define_long(beginning)

    def judge_parse(self, definition: Definition) -> Definition:
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
            self.go_on()

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
        if self.relay.keeps and self.relay.settings is not backend.relay.settings:
            sql = sync_sql(_residue(backend.relay.settings), _residue(self.relay.settings))
            backend.ask(sql, lambda answer: None)
            backend.relay.settings = self.relay.settings

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

    def backend_lost(self, error: BackendLost, *, was_told: bool) -> None:
        """The backend is gone in the middle of an exchange, a transaction or a pin."""
        self.relay.backend = None
        self.plane.count_loss(self)
        if was_told:
            self.reason = "the server ended the backend"
            self.close()
        else:
            self.end_with(error)

    def state(self) -> str:
        """Return what the client does, as SHOW CLIENTS tells it."""
        backend = self.relay.backend
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
        if self.relay.is_waiting:
            self.fail(QueryCanceled())
        elif backend is not None and backend.stream.owed():
            backend.keeper.cancel()

    def client_lost(self, error: Exception | None) -> None:
        """The connection to the client ended."""
        if self.is_over:
            return
        self.is_over = True
        self.waits_for = None
        if self._first is not None and not self._first.done():
            self._first.cancel()
        backend = self.relay.backend
        if backend is not None:
            self._leave(backend)
        self.plane.forget(self)

    def _leave(self, relay: "BackendRelay") -> None:
        keeper: Backend = relay.keeper
        is_cut = bool(self.relay.stream.left)
        is_as_found = (
            not self.relay.keeps
            and not relay.suspicion
            and not relay.is_held
            and not relay.is_doubtful
            and not relay.stream.owed()
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


def _residue(state: Any) -> Residue:
    return Residue(
        settings=state.settings,
        role=state.role,
        session_authorization=state.session_authorization,
        pins=(),
    )


def _collect(problems: list[dict[str, str]], answer: "OwnAnswer") -> None:
    if answer.error is not None:
        problems.append(answer.error)


def error_message(severity: str, error: ShardRouterError) -> bytes:
    """Return the ErrorResponse of one of our errors."""
    where = ", ".join(
        f"{name} {value}"
        for name, value in (("shard", error.shard), ("node", error.node), ("epoch", error.epoch))
        if value is not None
    )
    text = f"{error.message} [{where}]" if where else error.message
    return messages.error_response(severity, error.sqlstate, text, error.hint)
