# cython: annotation_typing=False, boundscheck=False, wraparound=False
"""Walk what a backend says: whose answer it is, where exchanges end, what the client gets.

Thinking only: bytes in, flags and spans out. Only headers are read; rows pass through unseen. The
``plan`` holds what the backend owes (``codes.Owed``), in the order in which it was asked; what a
message means follows from the head of the plan by the table in ``answers``.

Invariant: a byte reaches the client only while the head of the plan is something that the client
asked for, or when it is a message that a server may send unasked.
"""

from shardrouter.wire.answers import WIDTH, Action, flat_table
from shardrouter.wire.codes import FOR_US, Owed, Seen

_ACTIONS = flat_table()
_WIDTH = WIDTH

_PASS = int(Action.PASS)
_NEXT = int(Action.NEXT)
_READY = int(Action.READY)
_HIDE_NEXT = int(Action.HIDE_NEXT)
_PARSED = int(Action.PARSED)
_HIDE_PARSED = int(Action.HIDE_PARSED)
_FAIL = int(Action.FAIL)
_EVENT = int(Action.EVENT)
_COPY_IN = int(Action.COPY_IN)
_OWN_READY = int(Action.OWN_READY)
_BROKEN = int(Action.BROKEN)

_QUERY = int(Owed.QUERY)
_SYNC = int(Owed.SYNC)
_CALL = int(Owed.CALL)
_PARSE = int(Owed.PARSE)
_EXECUTE = int(Owed.EXECUTE)
_PARSE_HIDDEN = int(Owed.PARSE_HIDDEN)
_PARSE_FAKE = int(Owed.PARSE_FAKE)
_CLOSE_FAKE = int(Owed.CLOSE_FAKE)
_PARSE_UNNAMED = int(Owed.PARSE_UNNAMED)

_SEEN_READY = int(Seen.READY)
_SEEN_QUIET = int(Seen.QUIET)
_SEEN_EVENTS = int(Seen.EVENTS)
_SEEN_CUT = int(Seen.CUT)
_SEEN_BROKEN = int(Seen.BROKEN)
_SEEN_PARSED = int(Seen.PARSED)
_SEEN_DOUBTFUL = int(Seen.DOUBTFUL)
_SEEN_UNNAMED_LOST = int(Seen.UNNAMED_LOST)

_FOR_US = FOR_US
_HEADER = 5
_READY_BYTES = 6
_HELD_BYTES = 1048576  # a message that must be seen whole is held up to this size
_LONGEST_PLAN = 512  # answered entries are dropped in lots
_MOST_BYTES = 0x40000400  # Postgres sends nothing longer than 1 GB and a header

_PARSE_COMPLETE = b"1\0\0\0\4"
_CLOSE_COMPLETE = b"3\0\0\0\4"


class BackendStream:
    """One backend's side of the talk. ``owing`` is the head of the plan, 0 when all is answered."""

    def __init__(self) -> None:
        self.plan = bytearray()
        self.head = 0
        self.owing = 0
        self.status = 73  # I
        self.ready_count = 0
        self.is_skipping = False
        self.is_copy_in = False
        self.data = b""
        self.pieces: list[bytes] = []
        self.events: list[tuple[int, bytes]] = []
        self.outcomes: list[bool] = []
        self.tail = b""
        self.left = 0
        self.start = 0  # of the span that goes on as it is
        self.flags = 0

    def owed(self) -> int:
        """Return what the backend has to answer next, NOTHING when it has answered all."""
        return self.owing

    def expect(self, code: int) -> None:
        """Note that the backend was sent something; a fake only behind something else."""
        if self.owing == 0:
            self.owing = code
            if self.head > _LONGEST_PLAN:
                self.plan = bytearray()
                self.head = 0
        self.plan.append(code)

    def is_mid_message(self) -> bool:
        """True when a message of the backend has begun and not ended."""
        return self.left != 0 or len(self.tail) != 0

    def feed(self, data: bytes) -> int:
        """Take a chunk; return ``Seen`` flags as a number.

        Without CUT all of ``self.data`` goes to the client, with it only ``self.pieces``.
        """
        if self.tail:
            data = self.tail + data
            self.tail = b""
        self.data = data
        self.flags = 0
        self.ready_count = 0
        self.start = 0
        size = len(data)
        at = self.left
        if at >= size:
            self.left = at - size
            return 0
        self.left = 0
        while size - at >= _HEADER:
            kind = data[at]
            length = (
                (data[at + 1] << 24) | (data[at + 2] << 16) | (data[at + 3] << 8) | data[at + 4]
            )
            if length < 4 or length > _MOST_BYTES:
                return self.flags | _SEEN_BROKEN
            end = at + 1 + length
            action = _ACTIONS[kind * _WIDTH + self.owing]
            if end > size:
                if action != _PASS:
                    if length <= _HELD_BYTES:
                        break  # what has a meaning is taken whole
                    if action != _NEXT and action != _FAIL:
                        return self.flags | _SEEN_BROKEN
                self.left = end - size
                end = size
            if action != _PASS and not self._act(action, kind, at, end):
                return self.flags | _SEEN_BROKEN
            at = end
        return self._finish(at, size)

    def _finish(self, at: int, size: int) -> int:
        """Hold back a message that is not whole; close the last span."""
        if at < size:
            self.tail = self.data[at:]
            self._cut(at, size)
        elif self.flags & _SEEN_CUT and self.start < size:
            self._cut(size, size)
        return self.flags

    def _cut(self, end: int, start: int) -> None:
        """End the span at ``end``; the next one begins at ``start``."""
        if not self.flags & _SEEN_CUT:
            self.flags |= _SEEN_CUT
            self.pieces = []
        if end > self.start:
            self.pieces.append(self.data[self.start : end])
        self.start = start

    def _pop(self) -> None:
        self.head += 1
        self.owing = self.plan[self.head] if self.head < len(self.plan) else 0

    def _act(self, action: int, kind: int, at: int, end: int) -> bool:
        """Carry out what a message means. False: it may not come here."""
        if action == _READY:
            if end - at != _READY_BYTES:
                return False
            self.status = self.data[at + _HEADER]
            self.is_copy_in = False
            self.ready_count += 1
            self._pop()
            self.flags |= _SEEN_READY
            if self.owing == 0:
                self.flags |= _SEEN_QUIET
        elif action == _NEXT:
            self.is_copy_in = False
            self._pop()
        elif not self._act_rarely(action, kind, at, end):
            return False
        if self.owing == _PARSE_FAKE or self.owing == _CLOSE_FAKE:
            return self._answer_fakes(end)
        return True

    def _act_rarely(self, action: int, kind: int, at: int, end: int) -> bool:
        if action == _EVENT:
            self._note(kind, at, end)
        elif action == _FAIL:
            self._fail(kind, at, end)
        elif action == _COPY_IN:
            self.is_copy_in = True
            if self.owing == _EXECUTE:
                self._ignore_syncs()
        elif action == _HIDE_NEXT:
            self._cut(at, end)
            self._pop()
        elif action == _PARSED or action == _HIDE_PARSED:  # noqa: SIM109
            if action == _HIDE_PARSED:
                self._cut(at, end)
            self._pop()
            self.outcomes.append(True)
            self.flags |= _SEEN_PARSED
        elif action != _BROKEN:
            return self._take_own(action, kind, at, end)
        return action != _BROKEN

    def _note(self, kind: int, at: int, end: int) -> None:
        self.events.append((kind, self.data[at + _HEADER : end]))
        self.flags |= _SEEN_EVENTS

    def _take_own(self, action: int, kind: int, at: int, end: int) -> bool:
        """Take a part of an answer to us."""
        self._cut(at, end)
        self._note(kind + _FOR_US, at, end)
        if action == _OWN_READY:
            if end - at != _READY_BYTES:
                return False
            self.status = self.data[at + _HEADER]
            self._pop()
            if self.owing == 0:
                self.flags |= _SEEN_QUIET
        return True

    def _answer_fakes(self, end: int) -> bool:
        """Answer what the backend was not sent, in its turn."""
        if self.left:
            return False  # the message before it has not ended
        self._cut(end, end)
        while self.owing == _PARSE_FAKE or self.owing == _CLOSE_FAKE:
            if self.owing == _PARSE_FAKE:
                self.pieces.append(_PARSE_COMPLETE)
                self.outcomes.append(True)
                self.flags |= _SEEN_PARSED
            else:
                self.pieces.append(_CLOSE_COMPLETE)
            self._pop()
        return True

    def _ignore_syncs(self) -> None:
        """A server that reads COPY data ignores Sync: those sent already get no answer."""
        rest = self.plan[self.head + 1 :]
        if rest:
            self.plan = self.plan[: self.head + 1]
            if rest.count(_SYNC) != len(rest):
                self.flags |= _SEEN_DOUBTFUL

    def _fail(self, kind: int, at: int, end: int) -> None:
        """Take an error. In an extended query all up to the next Sync is skipped by the server."""
        self._note(kind, at, end)
        was_copy = self.is_copy_in
        self.is_copy_in = False
        owed = self.owing
        if owed == 0 or owed == _QUERY or owed == _SYNC or owed == _CALL:  # noqa: SIM109
            return
        if was_copy:
            # Was the Sync behind the COPY read before the error or after?
            self.flags |= _SEEN_DOUBTFUL
        while self.owing != 0 and self.owing != _SYNC:
            self._skip()
        self.is_skipping = self.owing == 0

    def _skip(self) -> None:
        owed = self.owing
        if owed == _PARSE_UNNAMED:
            self.flags |= _SEEN_UNNAMED_LOST
        elif owed == _PARSE or owed == _PARSE_HIDDEN or owed == _PARSE_FAKE:  # noqa: SIM109
            self.outcomes.append(False)
            self.flags |= _SEEN_PARSED
        self._pop()
