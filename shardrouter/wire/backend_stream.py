# cython: annotation_typing=False, boundscheck=False, wraparound=False
"""Walk what a backend says: whose answer it is, where exchanges end, what the client gets.

Thinking only: bytes in, flags and spans out. Only headers are read; rows pass through unseen. The
``plan`` holds what the backend owes (``codes.Owed``), in the order in which it was asked.

Invariant: a byte reaches the client only while the head of the plan is something that the client
asked for, or when it is a message that a server may send unasked.
"""

from shardrouter.wire.codes import FOR_US, Owed, Seen

_QUERY = int(Owed.QUERY)
_SYNC = int(Owed.SYNC)
_CALL = int(Owed.CALL)
_PARSE = int(Owed.PARSE)
_BIND = int(Owed.BIND)
_DESCRIBE = int(Owed.DESCRIBE)
_EXECUTE = int(Owed.EXECUTE)
_CLOSE = int(Owed.CLOSE)
_PARSE_HIDDEN = int(Owed.PARSE_HIDDEN)
_CLOSE_HIDDEN = int(Owed.CLOSE_HIDDEN)
_PARSE_FAKE = int(Owed.PARSE_FAKE)
_CLOSE_FAKE = int(Owed.CLOSE_FAKE)
_OWN = int(Owed.OWN)
_PARSE_UNNAMED = int(Owed.PARSE_UNNAMED)

_SEEN_READY = int(Seen.READY)
_SEEN_QUIET = int(Seen.QUIET)
_SEEN_EVENTS = int(Seen.EVENTS)
_SEEN_CUT = int(Seen.CUT)
_SEEN_BROKEN = int(Seen.BROKEN)
_SEEN_PARSED = int(Seen.PARSED)
_SEEN_DOUBTFUL = int(Seen.DOUBTFUL)
_SEEN_UNNAMED_LOST = int(Seen.UNNAMED_LOST)

_HIDE = 256  # beside the flags: the client does not get it
_FOR_US = FOR_US
_HEADER = 5
_HELD_BYTES = 1048576  # a message that must be seen whole is held up to this size
_LONGEST_PLAN = 512  # answered entries are dropped in lots
_MOST_BYTES = 0x40000400  # Postgres sends nothing longer than 1 GB and a header

_PARSE_COMPLETE = b"1\0\0\0\4"
_CLOSE_COMPLETE = b"3\0\0\0\4"


class BackendStream:
    """One backend's side of the talk."""

    def __init__(self):
        self.plan = bytearray()
        self.head = 0
        self.status = 73  # I
        self.ready_count = 0
        self.is_skipping = False
        self.is_copy_in = False
        self.data = b""
        self.pieces = []
        self.events = []
        self.outcomes = []
        self.tail = b""
        self.left = 0

    def owed(self):
        """Return what the backend has to answer next, NOTHING when it has answered all."""
        return self.plan[self.head] if self.head < len(self.plan) else 0

    def expect(self, code):
        """Note that the backend was sent something. A fake with nothing before it is due now."""
        if self.head == len(self.plan) and self.head > _LONGEST_PLAN:
            self.plan = bytearray()
            self.head = 0
        self.plan.append(code)

    def is_mid_message(self):
        """True when a message of the backend has begun and not ended."""
        return self.left != 0 or len(self.tail) != 0

    def feed(self, data):
        """Take a chunk; return ``Seen`` flags as a number.

        Without CUT all of ``self.data`` goes to the client, with it only ``self.pieces``.
        """
        if self.tail:
            data = self.tail + data
            self.tail = b""
        self.data = data
        self.ready_count = 0
        flags = 0
        size = len(data)
        at = 0
        start = 0  # of the span that goes on as it is
        if self.left:
            if self.left >= size:
                self.left -= size
                return 0
            at = self.left
            self.left = 0
        plan = self.plan
        owed = plan[self.head] if self.head < len(plan) else 0
        while at < size:
            if size - at < _HEADER:
                break
            kind = data[at]
            length = (
                (data[at + 1] << 24) | (data[at + 2] << 16) | (data[at + 3] << 8) | data[at + 4]
            )
            if length < 4 or length > _MOST_BYTES:
                return flags | _SEEN_BROKEN
            end = at + 1 + length
            if end > size:
                if _must_be_whole(kind, owed) and length <= _HELD_BYTES:
                    break
                if owed == _OWN:
                    return flags | _SEEN_BROKEN  # an answer to us is never that long
                self.left = end - size
                end = size
            if owed == _OWN and kind != 65:  # all but A, which a server says unasked
                self._keep(data, start, at, flags)
                flags |= _SEEN_CUT | _SEEN_EVENTS
                start = end
                self.events.append((kind + _FOR_US, data[at + _HEADER : end]))
                if kind == 90:  # Z
                    if length != 5:
                        return flags | _SEEN_BROKEN
                    self.status = data[at + _HEADER]
                    owed = self._pop()
                    if owed == 0:
                        flags |= _SEEN_QUIET
            elif kind == 68 or kind == 100:  # D, d: rows
                if owed == 0:
                    return flags | _SEEN_BROKEN
            elif kind == 90:  # Z
                if length != 5 or (owed != _QUERY and owed != _SYNC and owed != _CALL):
                    return flags | _SEEN_BROKEN
                self.status = data[at + _HEADER]
                self.is_copy_in = False
                self.ready_count += 1
                owed = self._pop()
                flags |= _SEEN_READY
                if owed == 0:
                    flags |= _SEEN_QUIET
            elif owed == _QUERY and (kind == 84 or kind == 67 or kind == 73):  # T, C, I
                pass
            else:
                found = self._judge(kind, owed, data, at, end)
                if found < 0:
                    return flags | _SEEN_BROKEN
                if found & _HIDE:
                    self._keep(data, start, at, flags)
                    flags |= _SEEN_CUT
                    start = end
                flags |= found & ~_HIDE
                owed = self.plan[self.head] if self.head < len(self.plan) else 0
            while owed == _PARSE_FAKE or owed == _CLOSE_FAKE:
                if self.left:
                    return flags | _SEEN_BROKEN
                self._keep(data, start, end, flags)
                flags |= _SEEN_CUT
                start = end
                if owed == _PARSE_FAKE:
                    self.pieces.append(_PARSE_COMPLETE)
                    self.outcomes.append(True)
                    flags |= _SEEN_PARSED
                else:
                    self.pieces.append(_CLOSE_COMPLETE)
                owed = self._pop()
            at = end
        if at < size:
            self.tail = data[at:]
            self._keep(data, start, at, flags)
            flags |= _SEEN_CUT
        elif flags & _SEEN_CUT and start < size:
            self._keep(data, start, size, flags)
        return flags

    def _pop(self):
        self.head += 1
        return self.plan[self.head] if self.head < len(self.plan) else 0

    def _keep(self, data, start, end, flags):
        """Put a span among the pieces; the first one of a chunk begins anew."""
        if not flags & _SEEN_CUT:
            self.pieces = []
        if end > start:
            self.pieces.append(data[start:end])

    def _judge(self, kind, owed, data, at, end):
        """Take any other message. Returns flags, _HIDE among them, -1 when it may not come here."""
        if kind == 49:  # 1
            if owed == _PARSE_UNNAMED:
                self._pop()
                return 0
            if owed == _PARSE:
                self._pop()
                self.outcomes.append(True)
                return _SEEN_PARSED
            if owed == _PARSE_HIDDEN:
                self._pop()
                self.outcomes.append(True)
                return _SEEN_PARSED | _HIDE
            return -1
        if kind == 50:  # 2
            if owed != _BIND:
                return -1
            self._pop()
            return 0
        if kind == 51:  # 3
            if owed == _CLOSE:
                self._pop()
                return 0
            if owed == _CLOSE_HIDDEN:
                self._pop()
                return _HIDE
            return -1
        if kind == 84 or kind == 110:  # T, n
            if owed != _DESCRIBE:
                return -1
            self._pop()
            return 0
        if kind == 116:  # t
            return 0 if owed == _DESCRIBE else -1
        if kind == 67 or kind == 73 or kind == 115:  # C, I, s
            if owed != _EXECUTE:
                return -1
            self.is_copy_in = False
            self._pop()
            return 0
        if kind == 69:  # E
            return self._fail(owed, data, at, end)
        if kind == 78:  # N
            return 0
        if kind == 83 or kind == 65:  # S, A
            self.events.append((kind, data[at + _HEADER : end]))
            return _SEEN_EVENTS
        return self._judge_rare(kind, owed)

    def _judge_rare(self, kind, owed):
        if kind == 71:  # G: COPY FROM STDIN
            self.is_copy_in = True
            return self._ignore_syncs() if owed == _EXECUTE else (0 if owed == _QUERY else -1)
        if kind == 72 or kind == 99:  # H, c
            return 0 if owed == _EXECUTE or owed == _QUERY else -1
        if kind == 86:  # V
            return 0 if owed == _CALL else -1
        return -1  # R, K, W and the unknown: nothing for a backend that is logged in

    def _ignore_syncs(self):
        """A server that reads COPY data ignores Sync: those sent already get no answer."""
        rest = self.plan[self.head + 1 :]
        if not rest:
            return 0
        self.plan = self.plan[: self.head + 1]
        return 0 if rest.count(_SYNC) == len(rest) else _SEEN_DOUBTFUL

    def _fail(self, owed, data, at, end):
        self.events.append((69, data[at + _HEADER : end]))
        flags = _SEEN_EVENTS
        was_copy = self.is_copy_in
        self.is_copy_in = False
        if owed == 0 or owed == _QUERY or owed == _SYNC or owed == _CALL:
            return flags
        if was_copy:
            flags |= _SEEN_DOUBTFUL  # was the Sync behind the COPY read before the error or after?
        while self.head < len(self.plan) and self.plan[self.head] != _SYNC:
            code = self.plan[self.head]
            if code == _PARSE_UNNAMED:
                flags |= _SEEN_UNNAMED_LOST
            elif code == _PARSE or code == _PARSE_HIDDEN or code == _PARSE_FAKE:
                self.outcomes.append(False)
                flags |= _SEEN_PARSED
            self.head += 1
        self.is_skipping = self.head == len(self.plan)
        return flags


def _must_be_whole(kind, owed):
    """True for messages that are read beyond their header."""
    if owed == _OWN or owed == _DESCRIBE or (owed == _EXECUTE and kind == 67):  # C
        return True  # something of ours may follow at once
    return kind == 90 or kind == 69 or kind == 83 or kind == 65  # Z, E, S, A
