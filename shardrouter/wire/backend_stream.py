# cython: annotation_typing=False, boundscheck=False, wraparound=False
"""Walk what a backend says: whose answer it is, where exchanges end, what the client gets.

Thinking only: bytes in, flags and spans out. Only headers are read; rows pass through unseen. The
``plan`` holds what the backend owes (``codes.Owed``), in the order in which it was asked; what a
message means follows from the head of the plan by the table in ``answers``.

Invariant: a byte reaches the client only while the head of the plan is something that the client
asked for, or when it is a message that a server may send unasked.
"""

from shardrouter.wire.answers import WIDTH, Action, flat_table
from shardrouter.wire.codes import FOR_US, Outcome, Owed, Seen

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
_COPY_DONE = int(Action.COPY_DONE)
_COPY_FAIL = int(Action.COPY_FAIL)
_OWN_READY = int(Action.OWN_READY)
_BROKEN = int(Action.BROKEN)

_QUERY = int(Owed.QUERY)
_SYNC = int(Owed.SYNC)
_CALL = int(Owed.CALL)
_OWN = int(Owed.OWN)
_PARSE = int(Owed.PARSE)
_EXECUTE = int(Owed.EXECUTE)
_PARSE_HIDDEN = int(Owed.PARSE_HIDDEN)
_CLOSE_FAKE = int(Owed.CLOSE_FAKE)
_PARSE_UNNAMED = int(Owed.PARSE_UNNAMED)
_QUERY_COPY = int(Owed.QUERY_COPY)
_EXECUTE_COPY = int(Owed.EXECUTE_COPY)
_COPY_DATA = int(Owed.COPY_DATA)
_COPY_END = int(Owed.COPY_END)

_SEEN_READY = int(Seen.READY)
_SEEN_QUIET = int(Seen.QUIET)
_SEEN_EVENTS = int(Seen.EVENTS)
_SEEN_CUT = int(Seen.CUT)
_SEEN_BROKEN = int(Seen.BROKEN)
_SEEN_PARSED = int(Seen.PARSED)
_SEEN_DOUBTFUL = int(Seen.DOUBTFUL)
_SEEN_UNNAMED_LOST = int(Seen.UNNAMED_LOST)

_DONE = int(Outcome.DONE)
_FAILED = int(Outcome.FAILED)
_SKIPPED = int(Outcome.SKIPPED)

_FOR_US = FOR_US
_HEADER = 5
_READY_BYTES = 6
_HELD_BYTES = 1048576  # a message that must be seen whole is held up to this size
_LONGEST_PLAN = 512  # answered entries are dropped in lots
_MOST_BYTES = 0x40000400  # Postgres sends nothing longer than 1 GB and a header

_CLOSE_COMPLETE = b"3\0\0\0\4"
_INTRUDED = b"\0C08P01\0"  # in an error: a message that has no place in a COPY


class BackendStream:
    """One backend's side of the talk. ``owing`` is the head of the plan, 0 when all is answered."""

    def __init__(self) -> None:
        self.plan = bytearray()
        self.head = 0
        self.owing = 0
        self.status = 73  # I
        self.ready_count = 0
        self.is_skipping = False
        self.spare_syncs = 0
        self.data = b""
        self.pieces: list[bytes] = []
        self.events: list[tuple[int, bytes]] = []
        self.outcomes: list[int] = []
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

    def take_over(self) -> None:
        """Make what is owed next a question of ours: the rest of its answer is kept from all."""
        self._set_head(_OWN)

    def note_copy(self, code: int) -> None:
        """Note COPY_DATA or COPY_END of the client: which Syncs count depends on them."""
        if self.owing != 0 and (code == _COPY_END or self.plan[len(self.plan) - 1] != code):
            self.plan.append(code)

    def is_undecided(self) -> bool:
        """True when a Parse or Close is not answered, and a Sync was sent behind it."""
        at = self.head
        is_pending = False
        while at < len(self.plan):
            code = self.plan[at]
            if code == _SYNC and is_pending:
                return True
            if code == _PARSE or code == _PARSE_HIDDEN or code == _CLOSE_FAKE:  # noqa: SIM109
                is_pending = True
            at += 1
        return False

    def will_be_quiet(self) -> bool:
        """True when all that was sent ends with a ReadyForQuery."""
        last = self.plan[len(self.plan) - 1]
        return last in (_SYNC, _QUERY, _CALL, _OWN)

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
        at = before = self.left
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
                return self._break(before)
            end = at + 1 + length
            action = _ACTIONS[kind * _WIDTH + self.owing]
            if end > size:
                if action != _PASS:
                    if length <= _HELD_BYTES:
                        break  # what has a meaning is taken whole
                    if action != _NEXT and action != _FAIL:
                        return self._break(before)
                self.left = end - size
                end = size
            if action != _PASS and not self._act(action, kind, at, end):
                return self._break(before)
            at = end
        return self._finish(at, size)

    def _break(self, before: int) -> int:
        """Refuse the chunk; what of a message went on before it stays without an end."""
        self.left = before
        return self.flags | _SEEN_BROKEN

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
        plan = self.plan
        self.head += 1
        while self.head < len(plan) and plan[self.head] >= _COPY_DATA:
            self.head += 1  # no COPY had begun: the server ignored it
        self.owing = plan[self.head] if self.head < len(plan) else 0

    def _act(self, action: int, kind: int, at: int, end: int) -> bool:
        """Carry out what a message means. False: it may not come here."""
        if action == _READY:
            if end - at != _READY_BYTES:
                return False
            self.status = self.data[at + _HEADER]
            self.ready_count += 1
            self._pop()
            self.flags |= _SEEN_READY
            if self.owing == 0:
                self.flags |= _SEEN_QUIET
        elif action == _NEXT:
            self._pop()
        elif not self._act_rarely(action, kind, at, end):
            return False
        if self.owing == _CLOSE_FAKE:
            return self._answer_fakes(end)
        return True

    def _act_rarely(self, action: int, kind: int, at: int, end: int) -> bool:
        if action == _EVENT:
            self._note(kind, at, end)
        elif action == _FAIL:
            self._fail(kind, at, end)
        elif action == _COPY_IN:
            self._set_head(_EXECUTE_COPY if self.owing == _EXECUTE else _QUERY_COPY)
        elif action == _COPY_DONE:
            self._end_copy()
        elif action == _COPY_FAIL:
            self._break_copy(kind, at, end)
        elif action == _HIDE_NEXT:
            self._cut(at, end)
            self._pop()
        elif action == _PARSED or action == _HIDE_PARSED:  # noqa: SIM109
            if action == _HIDE_PARSED:
                self._cut(at, end)
            self._pop()
            self._decide(_DONE)
        elif action == _BROKEN:
            return self._take_spare(kind, at, end)
        else:
            return self._take_own(action, kind, at, end)
        return True

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
        while self.owing == _CLOSE_FAKE:
            self.pieces.append(_CLOSE_COMPLETE)
            self._decide(_DONE)
            self._pop()
        return True

    def _decide(self, outcome: int) -> None:
        self.outcomes.append(outcome)
        self.flags |= _SEEN_PARSED

    def _fail(self, kind: int, at: int, end: int) -> None:
        """Take an error. In an extended query all up to the next Sync is skipped by the server."""
        self._note(kind, at, end)
        owed = self.owing
        if owed == 0:
            self.flags |= _SEEN_DOUBTFUL  # unasked: it is ending, or out of step
            return
        if owed == _QUERY or owed == _SYNC or owed == _CALL:  # noqa: SIM109
            return
        outcome = _FAILED
        while self.owing != 0 and self.owing != _SYNC:
            self._skip(self.owing, outcome)
            self._pop()
            outcome = _SKIPPED
        self.is_skipping = self.owing == 0

    def _skip(self, owed: int, outcome: int) -> None:
        """Note that the server does not do what it was sent."""
        if owed == _PARSE_UNNAMED:
            if outcome == _FAILED:
                self.flags |= _SEEN_UNNAMED_LOST
        elif owed == _PARSE or owed == _PARSE_HIDDEN or owed == _CLOSE_FAKE:  # noqa: SIM109
            self._decide(outcome)

    # COPY FROM STDIN. A server that reads COPY data ignores Sync, and ends the COPY with an error
    # at anything else but data: that message is lost. What the client sent ahead is in the plan.

    def _set_head(self, code: int) -> None:
        self.plan[self.head] = code
        self.owing = code

    def _end_copy(self) -> None:
        """All data came: everything up to the end that the client marked was ignored."""
        at = self.head + 1
        kept = bytearray()
        while at < len(self.plan) and self.plan[at] != _COPY_END:
            if self.plan[at] != _SYNC and self.plan[at] != _COPY_DATA:
                kept.append(self.plan[at])
            at += 1
        self._leave_copy(kept + self.plan[at + 1 :])
        if self.owing == _EXECUTE:
            self._pop()

    def _leave_copy(self, rest: bytearray) -> None:
        self.plan = self.plan[: self.head + 1] + rest
        self._set_head(_EXECUTE if self.owing == _EXECUTE_COPY else _QUERY)

    def _break_copy(self, kind: int, at: int, end: int) -> None:
        """The COPY failed: find out how far the server had read."""
        is_intruded = self.data.find(_INTRUDED, at, end) >= 0
        has_data = False
        syncs = 0
        kept = bytearray()
        behind = self.head + 1
        while behind < len(self.plan):
            code = self.plan[behind]
            if code == _CLOSE_FAKE:
                kept.append(code)
            elif code == _COPY_DATA:
                has_data = True
            elif code != _SYNC or (has_data and not is_intruded):
                break
            else:
                syncs += 1
            behind += 1
        self._judge_break(behind, is_intruded, syncs)
        self._leave_copy(kept + self.plan[behind:])
        self._fail(kind, at, end)

    def _judge_break(self, behind: int, is_intruded: bool, syncs: int) -> None:
        """Look at the first message that the server may have taken for itself."""
        if behind == len(self.plan):
            if syncs:  # ignored, or read after the error? Only the server knows
                self.spare_syncs = syncs
                self.flags |= _SEEN_DOUBTFUL
            return
        code = self.plan[behind]
        if code == _SYNC:
            self.flags |= _SEEN_DOUBTFUL
        elif is_intruded and code != _COPY_END:
            self._skip(code, _SKIPPED)
            self.plan[behind] = _COPY_END  # it ended the COPY, and is not answered

    def _take_spare(self, kind: int, at: int, end: int) -> bool:
        """Take the answer to a Sync that seemed to be ignored."""
        if kind != 90 or not self.spare_syncs or self.owing or end - at != _READY_BYTES:  # Z
            return False
        self.spare_syncs -= 1
        self.status = self.data[at + _HEADER]
        self.is_skipping = False
        self.ready_count += 1
        self.flags |= _SEEN_READY | _SEEN_QUIET
        return True
