# cython: annotation_typing=False, boundscheck=False, wraparound=False
"""Relay bytes between a client and the backend it has: the hot path of the proxy.

Two protocols that call each other straight on; no task, future or await per query. Whatever is not
needed for every query is asked of ``session`` (the client's policy) and of ``keeper`` (the
backend's), which are ordinary Python. docs/flows/proxy.md tells the whole way of a statement.

Invariants: a client's bytes go to a backend only while ``client.backend`` is that backend, and a
backend's to a client only while ``backend.client`` is that client; both are set and cleared
together. A backend is released only by a ReadyForQuery that answered the last thing it owed.
"""

from collections import deque
from time import monotonic
from typing import Any

from shardrouter.proxy.relay.standing import Standing
from shardrouter.proxy.relay.tally import Tally
from shardrouter.proxy.relay.verdicts import Verdict
from shardrouter.wire.backend_stream import BackendStream
from shardrouter.wire.client_stream import ClientStream
from shardrouter.wire.codes import Kind, Seen

_NONE = int(Kind.NONE)
_CONTINUED = int(Kind.CONTINUED)
_SEEN_QUIET = int(Seen.QUIET)
_SEEN_CUT = int(Seen.CUT)
_SEEN_RARE = int(Seen.RARE)
_SEEN_BROKEN = int(Seen.BROKEN)

_FORWARD = int(Verdict.FORWARD)
_DROPPED = int(Verdict.DROPPED)
_WAIT = int(Verdict.WAIT)
_HELD = int(Verdict.HELD)
_CLOSED = int(Verdict.CLOSED)
_IDLE = 73  # I


class ClientRelay:
    """The client's connection once it is logged in."""

    def __init__(self, session: Any, transport: Any, most_bytes: int, standing: Standing) -> None:
        self.session = session
        self.standing = standing
        self.pool: Any = None  # the choice, for as long as it stands
        self.version = 0
        self.statements: Any = None
        self.transport = transport
        self.stream = ClientStream(most_bytes)
        self.backend: Any = None  # or a BackendRelay
        self.settings: Any = None
        self.params: Any = None
        self.keeps = False
        self.is_transparent = False
        self.is_waiting = False
        self.waits_plainly = False  # for a backend as it is, with nothing held back
        self.waiter: Any = None  # who stands in the row for it, once it is logged in
        self.is_write_paused = False
        self.is_dropping = False
        self.is_started = False
        self.is_particular = False  # the backend must be prepared for what comes now
        self.text = b""
        self.started = 0.0
        self.answered_at = 0.0
        self.wrote_at = 0.0
        self.queries = self.bytes_in = self.bytes_out = 0
        self.out_before = 0  # ``bytes_out`` when the last exchange began
        self.span = -1
        self.pieces: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.stream.feed(data)
        if self.is_waiting:
            self.session.hold_input()
        else:
            self.process()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.session.client_lost(error)

    def pause_writing(self) -> None:
        self.is_write_paused = True
        if self.backend is not None:
            self.backend.transport.pause_reading()

    def resume_writing(self) -> None:
        self.is_write_paused = False
        if self.backend is not None:
            self.backend.transport.resume_reading()

    def process(self) -> None:
        """Take the messages that have come, as far as that is possible now."""
        stream = self.stream
        while True:
            kind = stream.next()
            if kind == _NONE:
                break
            if kind == _CONTINUED:
                verdict = _DROPPED if self.is_dropping else _FORWARD
            else:
                verdict = self.take(kind)
            if verdict == _FORWARD:
                self.is_dropping = False
                if self.span < 0:
                    self.span = stream.start
            elif verdict == _WAIT:
                stream.back()
                self.is_waiting = True
                self._flush(stream.start)
                return
            elif verdict == _CLOSED:
                return
            else:
                self.is_dropping = verdict == _DROPPED
                if self.span >= 0:
                    self._end_span(stream.start)
                if verdict == _HELD:
                    self.is_waiting = True
                    break
        self._flush(stream.end)

    def put(self, data: bytes) -> None:
        """Send something of ours to the backend, in front of the current message."""
        if self.span >= 0:
            self._end_span(self.stream.start)
        self.pieces.append(data)

    def flush(self) -> None:
        """Write out what stands in front of the current message."""
        self._flush(self.stream.start)

    def _end_span(self, end: int) -> None:
        if end > self.span:
            self.pieces.append(self.stream.data[self.span : end])
        self.span = -1

    def _flush(self, end: int) -> None:
        data = self.stream.data
        if self.span == 0 and end == len(data) and not self.pieces:
            self.span = -1
        else:
            if self.span >= 0:
                self._end_span(end)
            if not self.pieces:
                return
            data = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
            self.pieces = []
        backend = self.backend
        if backend is None:
            return
        self.bytes_in += len(data)
        backend.tally.bytes_in += len(data)
        backend.transport.write(data)
        if backend.is_release_due and not self.stream.left:
            backend.is_release_due = False
            if backend.stream.owing == 0:  # or something came behind the rest
                backend.quiet()

    def take(self, kind: int) -> int:
        """Return what becomes of the current message: see ``client_talk``."""
        raise NotImplementedError

    def start(self) -> None:
        """Note that a query begins, unless another is under way."""
        stream = self.backend.stream
        if stream.owing == 0:
            self.out_before = self.bytes_out
            if self.is_started:
                self.is_started = False  # by ``acquire``, a moment ago
            else:
                self.started = monotonic()

    def acquire(self) -> bool:
        """Attach a backend. False: see ``not_acquired``."""
        self.waits_plainly = False
        standing = self.standing
        pool = self.pool
        if self.version != standing.version or standing.clock() >= standing.deadline:
            pool = self.session.choose()
            if pool is None:
                return False
        idle = pool.idle
        if idle and not pool.is_paused and not self.is_particular:
            backend = idle.pop()
            now = monotonic()
            if (
                backend.settings is self.settings
                and backend.params is self.params
                and now - backend.idle_since < pool.check_after
                and not backend.transport.is_closing()
            ):
                backend.client = self
                self.backend = backend
                self.started = now
                self.is_started = True
                if self.is_write_paused:
                    backend.transport.pause_reading()
                return True
            idle.append(backend)
        elif pool.is_denied and self._stand_in_row(pool):
            return False
        return self.session.acquire_slowly(pool)

    def _stand_in_row(self, pool: Any) -> bool:
        """Wait for a backend where there is nothing else to be done. False: there may be."""
        waiter = self.waiter
        waiters = pool.waiters
        if waiter is None or self.is_particular or len(waiters) >= pool.most_waiters:
            return False
        waiter.waits_for = pool
        waiter.waits_since = pool.used_at = monotonic()
        waiters.append(waiter)
        self.waits_plainly = True
        return True

    def not_acquired(self) -> int:
        """Say what becomes of the message for which there is no backend now."""
        verdict: int = _WAIT if self.waits_plainly else self.session.not_acquired()
        return verdict


class BackendRelay:
    """Our connection to a node, once it is logged in."""

    def __init__(
        self, keeper: Any, pool: Any, transport: Any, tally: Tally, is_primary: bool
    ) -> None:
        self.keeper = keeper
        self.pool = pool
        self.transport = transport
        self.tally = tally
        self.is_primary = is_primary
        self.stream = BackendStream()
        self.client: Any = None  # or a ClientRelay
        self.paused: Any = None  # the client that is not read until what it sent is written
        self.settings: Any = None
        self.params: Any = None
        self.unnamed: Any = None
        self.prepared: dict[Any, bool] = {}
        self.parsing: deque[tuple[int, Any, bytes | None]] = deque()  # see ``undecided``
        self.suspicion = 0
        self.is_held = self.is_doubtful = self.is_release_due = False
        self.idle_since = 0.0
        self.slow_seconds = 1e300

    def data_received(self, data: bytes) -> None:
        stream = self.stream
        flags = stream.feed(data)
        if flags & _SEEN_RARE:
            self.keeper.note(flags)
            if flags & _SEEN_BROKEN:
                return
        client = self.client
        if client is None:
            self.keeper.unattached(flags)
            return
        out = stream.data
        if flags & _SEEN_CUT:
            pieces = stream.pieces
            out = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if out:
            self.tally.bytes_out += len(out)
            client.bytes_out += len(out)
            client.transport.write(out)
        if stream.ready_count:
            self.tally.queries += stream.ready_count
            client.queries += stream.ready_count
            if flags & _SEEN_QUIET:
                client.answered_at = monotonic()
                seconds = client.answered_at - client.started
                self.tally.observe(seconds, stream.status == _IDLE)
                if seconds > self.slow_seconds:
                    self.keeper.slow_query(seconds)
        if flags & _SEEN_QUIET:
            self.quiet()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.keeper.backend_lost(error)

    def pause_writing(self) -> None:
        self.paused = self.client
        if self.client is not None:
            self.client.transport.pause_reading()

    def resume_writing(self) -> None:
        paused, self.paused = self.paused, None
        if paused is not None:  # even if it has this backend no more
            paused.session.resume_input()

    def quiet(self) -> None:
        """All is answered: give the backend back if nothing keeps the client on it."""
        client = self.client
        if client.stream.left and not client.is_dropping:
            self.is_release_due = True  # the rest of a message that the server ignores
            return
        if (
            self.stream.status != _IDLE
            or client.keeps
            or self.suspicion
            or self.is_held
            or self.is_doubtful
        ):
            self.keeper.settle()
            return
        self.idle_since = client.answered_at
        if self.is_primary:
            client.wrote_at = self.idle_since
        self.detach()
        pool = self.pool
        if pool.is_shrinking:
            pool.take_back(self)
        elif not pool.waiters:
            pool.idle.append(self)
        elif not self._hand_over(pool):
            pool.take_back(self)

    def _hand_over(self, pool: Any) -> bool:
        """Go straight to who waits longest, if that client needs nothing else first."""
        waiter = pool.waiters[0]
        client = waiter.relay
        if (
            not client.waits_plainly
            or waiter.waits_for is not pool
            or client.settings is not self.settings
            or client.params is not self.params
            or pool.is_paused
            or self.transport.is_closing()
        ):
            return False
        pool.waiters.popleft()
        waiter.waits_for = None
        self.tally.waited(self.idle_since - waiter.waits_since)
        self.client = client
        client.backend = self
        client.is_waiting = client.waits_plainly = False
        if client.is_write_paused:
            self.transport.pause_reading()
        client.process()
        return True

    def detach(self) -> None:
        """Part the client and this backend."""
        client = self.client
        if client is None:
            return
        self.client = None
        client.backend = None
        if client.is_write_paused:
            self.transport.resume_reading()
