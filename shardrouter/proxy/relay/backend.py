"""What a backend needs beyond relaying: our own questions on it, cleaning, cancels, its end."""

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from shardrouter.proxy.relay.cancelling import carry_cancels
from shardrouter.proxy.relay.last_words import is_kept_back, loss
from shardrouter.proxy.relay.own_answers import OwnAnswer, read_row, unused
from shardrouter.proxy.relay.pair import BackendRelay
from shardrouter.proxy.relay.repeating import NOT_OWNED, take_back
from shardrouter.proxy.relay.slow_query import tell_slow_query
from shardrouter.proxy.relay.state import Reported
from shardrouter.proxy.relay.undecided import lose_unnamed, settle
from shardrouter.sql.session_inspection import DISCARD_SQL, inspection_sql, read_inspection
from shardrouter.wire import messages
from shardrouter.wire.codes import FOR_US, Owed, Seen
from shardrouter.wire.messages import read_error_fields

if TYPE_CHECKING:
    from shardrouter.proxy.relay.attachment import Attachment
    from shardrouter.proxy.relay.plane import Plane
    from shardrouter.proxy.relay.pool import NodePool
    from shardrouter.proxy.relay.session import Session

logger = logging.getLogger(__name__)

MOST_DISCARDED_BYTES: Final = 1 << 20  # of answers to a client that left
INSPECTION_TRIES: Final = 5  # when it is cancelled
GOODBYE_SECONDS: Final = 5.0  # for the server to close after our goodbye
OWN_SECONDS: Final = 15.0  # for a question of ours, before the backend counts as hung
READ_ONLY: Final = "25006"
STALE_PLAN: Final = "0A000"
_QUERY_CANCELED: Final = "57014"
_IDLE: Final = ord("I")


class Backend:
    """One connection to a node and its policy; ``relay`` moves the bytes."""

    def __init__(
        self,
        plane: "Plane",
        pool: "NodePool",
        transport: Any,
        pid: int,
        key: bytes,
        reported: Reported,
        dies_at: float,
    ) -> None:
        self.plane = plane
        self.pool = pool
        self.pid = pid
        self.key = key
        self.opened_at = monotonic()
        self.dies_at = dies_at
        self.closes_since = math.inf
        self.discarded_bytes = 0
        self.replays = 0
        self.is_primary = reported.values.get("in_hot_standby", "off") == "off"
        self.relay = BackendRelay(self, pool, transport, pool.tally, self.is_primary)
        self.relay.params = reported
        self.relay.settings = plane.nothing_set
        self.reserved_for: Attachment | None = None
        self.cancels = 0
        self.overdue_since = 0.0
        self.state = "idle"
        self._answers: deque[OwnAnswer] = deque()
        self._last_words: dict[str, str] | None = None
        self._has_told_client = False
        self._then: Callable[[], None] | None = None
        self._names: set[str] = set()
        self.forgets_statements = False

    # Our own questions

    def ask(self, sql: str, then: Callable[[OwnAnswer], None]) -> None:
        """Send a simple query whose answer only ``then`` gets."""
        self.expect_own(then)
        self.relay.unnamed = None  # as after any simple query
        self.relay.transport.write(messages.query(sql))

    def expect_own(self, then: Callable[[OwnAnswer], None]) -> None:
        """Note a question of ours that somebody else sends."""
        self.relay.stream.expect(int(Owed.OWN))
        self.note_own(then)

    def note_own(self, then: Callable[[OwnAnswer], None]) -> None:
        """Note who gets the answer to what is owed now as a question of ours."""
        self._answers.append(OwnAnswer(then, monotonic()))

    def is_hung(self, now: float) -> bool:
        """True when a question of ours is not answered."""
        client = self.relay.client
        if not self._answers or (client is not None and client.is_write_paused):
            return False  # one that does not read keeps us from reading, too
        awaited = self.pool.settings.connect_timeout_seconds  # by a client, as for a login
        return now - self._answers[0].asked_at > (awaited if self.reserved_for else OWN_SECONDS)

    # What the relay tells

    def note(self, flags: int) -> None:
        """Take what a chunk held beside bytes for the client."""
        relay = self.relay
        if flags & Seen.PARSED:
            self._note_parsed()
        if flags & Seen.UNNAMED_LOST:
            lose_unnamed(relay)
        if flags & Seen.DOUBTFUL:
            relay.is_doubtful = True
        if flags & Seen.EVENTS:
            events, relay.stream.events = relay.stream.events, []
            for kind, body in events:
                self._event(kind, body)
        if flags & Seen.BROKEN:
            self._break()

    def _note_parsed(self) -> None:
        relay = self.relay
        outcomes, relay.stream.outcomes = relay.stream.outcomes, []
        settle(relay, outcomes)
        if relay.client is not None and relay.client.is_waiting:
            asyncio.get_running_loop().call_soon(relay.client.session.statements_are_known, self)

    def _event(self, kind: int, body: bytes) -> None:
        if kind == FOR_US + 0x44:  # D
            self._answers[0].rows.append(read_row(body))
        elif kind == FOR_US + 0x45:  # E
            fields = read_error_fields(body)
            self._answers[0].error = fields
            self._note_error(fields)
        elif kind == FOR_US + 0x5A:  # Z
            answer = self._answers.popleft()
            answer.then(answer)
        elif kind == FOR_US + 0x53:  # S
            self._note_parameter(body)
        elif kind == 0x53:
            self._note_parameter(body)
            if self.relay.client is not None:
                self.relay.client.params = self.relay.params
        elif kind == 0x45:
            fields = read_error_fields(body)
            if fields.get("C") == NOT_OWNED and take_back(self, fields):
                return
            self._client_error(fields)
            if self._last_words is fields:
                self._has_told_client = self.relay.client is not None and not is_kept_back(
                    self.relay, body
                )

    def _client_error(self, fields: dict[str, str]) -> None:
        self.relay.tally.errors += 1
        client = self.relay.client
        if client is not None:
            client.session.statement_failed()
        code = fields.get("C", "")
        if code == READ_ONLY and self.pool.is_for_writes:
            self.plane.fleet.suspect(self.pool.key.node)
        elif code == NOT_OWNED:
            self.plane.refresh_topology()
        elif code == STALE_PLAN and "cached plan" in fields.get("M", ""):
            # Its tables changed. Who prepares it anew gets one that no backend has the old plan of.
            self.relay.is_doubtful = True
            if client is not None:
                self.plane.definitions.forget(client.text)
        self._note_error(fields)

    def _note_error(self, fields: dict[str, str]) -> None:
        if fields.get("V", fields.get("S")) in ("FATAL", "PANIC"):
            self._last_words = fields
            self.relay.is_doubtful = True  # nobody else may get it before it ends

    def _note_parameter(self, body: bytes) -> None:
        name, _, rest = body.partition(b"\0")
        value = rest.rstrip(b"\0")
        if name == b"in_hot_standby":  # its node was promoted: what is written here is a commit
            self.is_primary = self.relay.is_primary = value == b"off"
        self.relay.params = self.plane.states.with_change(
            self.relay.params, name.decode("utf-8", "replace"), value.decode("utf-8", "replace")
        )

    def unattached(self, flags: int) -> None:
        """Bytes came while no client has this backend."""
        if self.state == "closing":
            self.discarded_bytes += len(self.relay.stream.data)
            if self.discarded_bytes > MOST_DISCARDED_BYTES:
                self.abort()  # as with Postgres itself, who does not read does not get it done
                return
        if self._last_words is not None and self.state != "closing":
            self.close("the server ended it")  # nobody may get it: its words were for nobody
        if flags & Seen.QUIET and self._then is not None:
            then, self._then = self._then, None
            then()

    def when_quiet(self, then: Callable[[], None]) -> None:
        """Call back when all our questions are answered; no client has the backend."""
        self._then = then

    # After a client's last answer

    def settle(self) -> None:
        """The relay is quiet, and something keeps it from just being released."""
        relay = self.relay
        client = relay.client
        if client is None or self.cancels:
            return  # ``carry_cancels`` asks a last question, whose answer leads here again
        session = client.session
        session.attachment.tell_parameters(relay.params)
        is_open = relay.stream.status != _IDLE
        if relay.suspicion and not is_open:
            self._inspect(session)
        elif relay.is_held:
            relay.is_held = False
            session.backend_is_quiet()
            if relay.client is client and not relay.stream.owed():
                relay.quiet()
        elif is_open:
            session.in_transaction()
        elif client.keeps and client.is_watched:
            self.plane.holding.at_rest(session)
        elif relay.is_doubtful and not client.keeps and not self._has_told_client:
            relay.detach()
            self.close("doubtful")

    def _inspect(self, session: "Session") -> None:
        """Ask the server what the client left in its session; what it says next waits for that.

        A RESET, for example, must be followed by the value of the login before it is seen.
        """
        self._names |= session.custom_names
        relay = self.relay
        relay.suspicion = 0
        relay.is_held = session.relay.is_waiting = True
        if self.forgets_statements:
            self.forgets_statements = False
            relay.prepared.clear()
            self.ask("DEALLOCATE ALL", unused)
        self._ask_state(session, INSPECTION_TRIES)

    def _ask_state(self, session: "Session", tries: int) -> None:
        sql = inspection_sql(self._names)
        self.ask(sql, lambda answer: self._inspected(session, answer, tries - 1))

    def _inspected(self, session: "Session", answer: OwnAnswer, tries: int) -> None:
        if session.is_over:
            return  # the backend is being cleaned
        if answer.error is not None and answer.error.get("C") == _QUERY_CANCELED and tries:
            # The client's statement_timeout counts until our text has switched it off: 1 ms is
            # over by then on a busy server.
            self._ask_state(session, tries)
            return
        if answer.error is not None:
            logger.warning(
                "inspection_failed node=%s sqlstate=%s message=%r",
                self.pool.key.node,
                answer.error.get("C"),
                answer.error.get("M"),
            )
            self.relay.is_doubtful = True
            session.pin("unknown state")
            return
        session.learn(self, read_inspection(answer.rows, self.pool.key.user))

    # Cancelling

    def owes_client(self) -> bool:
        """True when something is asked that is not a question of ours."""
        stream = self.relay.stream
        return any(code != Owed.OWN for code in stream.plan[stream.head :])

    def cancel(self) -> None:
        """Cancel what the client runs. Until the server has heard it, nobody else gets this."""
        if not self.owes_client():
            return
        self.relay.is_held = True
        self.cancels += 1
        if self.cancels == 1:
            self.plane.spawn(carry_cancels(self), name=f"cancel {self.pid}")

    def slow_query(self, seconds: float) -> None:
        """A statement took longer than the log wants to let pass."""
        tell_slow_query(self.relay, seconds)

    # Cleaning

    def clean(self) -> None:
        """Its client is gone: make it as new and give it back, or close it."""
        relay = self.relay
        stream = relay.stream
        if relay.is_doubtful or stream.is_skipping or self.is_over():
            self.close("unclean")  # one that skips to the next Sync would skip the next client's
            return
        if stream.is_mid_message():
            self.abort()  # nobody reads the rest: the server ends what it cannot send
            return
        if self.owes_client():
            self.linger()
            return
        if stream.status != _IDLE:
            self.ask("ROLLBACK", unused)
        self.ask(DISCARD_SQL, self._cleaned)
        if self.pool.settings.mode == "session":  # nobody looked for setseed(), and it stays
            self.ask(f"SET seed = {random.uniform(-1, 1):f}", unused)
        self.state = "cleaning"
        self.when_quiet(self.give_back)

    def _cleaned(self, answer: OwnAnswer) -> None:
        relay = self.relay
        relay.prepared.clear()
        relay.unnamed = None
        relay.suspicion = 0
        self._names.clear()
        relay.settings = self.plane.nothing_set
        if answer.error is not None:
            relay.is_doubtful = True

    def give_back(self) -> None:
        """Offer it to the next."""
        if self.relay.is_doubtful or self.relay.stream.status != _IDLE:
            self.close("not clean")
            return
        self.state = "idle"
        self.pool.take_back(self.relay)

    def linger(self) -> None:
        """Let the server finish what it was asked and end by itself; what it says goes nowhere.

        A client that sends a statement and goes wants it done, as with Postgres itself.
        """
        self.state = "closing"
        self.closes_since = math.inf  # as long as the statement takes
        self.relay.is_doubtful = True
        self.relay.transport.write(messages.terminate())

    # The end

    def is_over(self) -> bool:
        is_ending = self.state == "closing" or self._last_words is not None
        return is_ending or bool(self.relay.transport.is_closing())

    def close(self, reason: str) -> None:
        """Say goodbye. It counts until the server has closed: bounds hold on its side, too."""
        logger.debug(
            "backend_closes node=%s pid=%d reason=%s", self.pool.key.node, self.pid, reason
        )
        if self.relay.transport.is_closing():
            self.abort()
            return
        self.state = "closing"
        self.closes_since = monotonic()
        self.relay.is_doubtful = True
        self.pool.set_aside(self)
        self.relay.transport.write(messages.terminate())

    def is_stuck(self, now: float) -> bool:
        """True when the server does not take our goodbye."""
        is_idle = self.state == "closing" and not self.relay.stream.owed()
        return is_idle and now - self.closes_since > GOODBYE_SECONDS

    def abort(self) -> None:
        """Close at once: the server rolls back what was under way."""
        self.state = "closing"
        self.relay.transport.abort()
        self.pool.forget(self)

    def _break(self) -> None:
        """The server said what it cannot say: neither side can go on with this exchange."""
        logger.error(
            "backend_protocol_error node=%s pid=%d owed=%d",
            self.pool.key.node,
            self.pid,
            self.relay.stream.owed(),
        )
        self.abort()
        self._lose_client("it sent what no Postgres sends here")

    def backend_lost(self, error: Exception | None) -> None:
        """The connection ended."""
        self.state = "closing"
        self.pool.forget(self)
        self._lose_client(str(error) if error else "it closed the connection")

    def _lose_client(self, reason: str) -> None:
        client, reserved = self.relay.client, self.reserved_for
        self.relay.detach()
        self.reserved_for = None
        if client is not None:
            error = loss(self.pool.shard.id, self.pool.key.node, reason)
            # Amid a message our words would be taken for the rest of it.
            is_silent = self._has_told_client or bool(self.relay.stream.left)
            client.session.backend_lost(error, is_silent=is_silent)
        elif reserved is not None:
            reserved.choose_again()
