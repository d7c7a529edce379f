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

from shardrouter.proxy.relay.tally import Tally
from shardrouter.proxy.relay.verdicts import Verdict
from shardrouter.sql.plain import is_plain
from shardrouter.wire.backend_stream import BackendStream
from shardrouter.wire.client_stream import ClientStream
from shardrouter.wire.codes import Kind, Owed, Seen

_NONE = int(Kind.NONE)
_BROKEN = int(Kind.BROKEN)
_CONTINUED = int(Kind.CONTINUED)
_QUERY = int(Owed.QUERY)
_SYNC = int(Owed.SYNC)
_CALL = int(Owed.CALL)
_EXECUTE = int(Owed.EXECUTE)
_COPY_DATA = int(Owed.COPY_DATA)
_COPY_END = int(Owed.COPY_END)
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

UNKNOWN = object()  # a backend's unnamed statement while nobody can tell: never the client's


class Standing:
    """What a choice of a pool stands on: while it holds, the choice needs not be made anew."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock  # the one leases are measured on
        self.version = 1
        self.deadline = -1e300


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
        self.is_write_paused = False
        self.is_dropping = False
        self.is_refusing = False
        self.is_started = False
        self.is_particular = False  # the backend must be prepared for what comes now
        self.text = b""
        self.started = 0.0
        self.answered_at = 0.0
        self.wrote_at = 0.0
        self.queries = self.bytes_in = self.bytes_out = 0
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
                verdict = self._take(kind)
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

    def _take(self, kind: int) -> int:
        """Decide on one message; ask for a backend when it needs one."""
        if kind == _BROKEN:
            self.session.refuse_length()
            return _CLOSED
        if self.is_refusing:
            return self._refuse(kind)
        if kind == 81:  # Q
            return self._query()
        if kind == 83:  # S
            return self._sync()
        if kind == 80 or kind == 66 or kind == 68 or kind == 67:  # P, B, D, C
            return self.statements.take(kind)
        if self.backend is None:
            verdict = self.session.enter(kind)
            if verdict != _FORWARD:
                return verdict
        return self._rest(kind)

    def _rest(self, kind: int) -> int:
        stream = self.backend.stream
        if kind == 69:  # E
            if not stream.is_skipping:
                self.start()
                stream.expect(_EXECUTE)
            return _FORWARD
        if kind == 100:  # d
            stream.note_copy(_COPY_DATA)
        elif kind == 99 or kind == 102:  # c, f
            stream.note_copy(_COPY_END)
        elif kind == 70:  # F
            if not stream.is_skipping:
                self.session.judge.call()
                self.start()
                stream.expect(_CALL)
        elif kind != 72:  # H
            return self.session.take(kind)
        return _FORWARD

    def _refuse(self, kind: int) -> int:
        """After an error of ours: ignore everything up to Sync, as a server does."""
        if kind == 83:  # S
            self.is_refusing = False
            return self.session.sync_alone()
        if kind == 88:  # X
            return self.session.take(kind)
        return _DROPPED

    def _query(self) -> int:
        stream = self.stream
        text = stream.data[stream.start + 5 : stream.end - 1]
        plain = not stream.is_partial and is_plain(text)
        if not plain:
            verdict = self.session.judge_query(text)
            if verdict != _FORWARD:
                return verdict
        if self.backend is None and not self.acquire():
            return self.session.not_acquired()
        backend = self.backend
        if backend.stream.is_skipping:
            return _FORWARD  # the server ignores it too
        if not plain:
            self.session.mark()
        self.text = text
        self.statements.unnamed = backend.unnamed = None
        if backend.stream.owing != 0:
            self.session.doubt_unnamed()
        self.start()
        backend.stream.expect(_QUERY)
        return _FORWARD

    def _sync(self) -> int:
        backend = self.backend
        if backend is None:
            return self.session.sync_alone()
        self.start()
        backend.stream.is_skipping = False
        backend.stream.expect(_SYNC)
        return _FORWARD

    def start(self) -> None:
        """Note that a query begins, unless another is under way."""
        stream = self.backend.stream
        if stream.owing == 0:
            if self.is_started:
                self.is_started = False  # by ``acquire``, a moment ago
            else:
                self.started = monotonic()

    def acquire(self) -> bool:
        """Attach a backend. False: see ``session.not_acquired``."""
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
        return self.session.acquire_slowly(pool)


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
        if pool.waiters or pool.is_shrinking:
            pool.take_back(self)
        else:
            pool.idle.append(self)

    def detach(self) -> None:
        """Part the client and this backend."""
        client = self.client
        if client is None:
            return
        self.client = None
        client.backend = None
        if client.is_write_paused:
            self.transport.resume_reading()
