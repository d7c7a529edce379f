# cython: annotation_typing=False, boundscheck=False, wraparound=False
"""Decide on each message of a client: the part of the hot path that knows what messages mean.

What is not the same for every query is asked of ``session`` and ``statements``.
"""

from typing import Any

from shardrouter.proxy.relay.pair import ClientRelay
from shardrouter.proxy.relay.standing import Standing
from shardrouter.proxy.relay.verdicts import Verdict
from shardrouter.sql.plain import PlainTexts
from shardrouter.wire.codes import Kind, Owed

_BROKEN = int(Kind.BROKEN)
_QUERY = int(Owed.QUERY)
_SYNC = int(Owed.SYNC)
_CALL = int(Owed.CALL)
_EXECUTE = int(Owed.EXECUTE)
_COPY_DATA = int(Owed.COPY_DATA)
_COPY_END = int(Owed.COPY_END)

_FLUSH_BYTES = 5
_FORWARD = int(Verdict.FORWARD)
_DROPPED = int(Verdict.DROPPED)
_CLOSED = int(Verdict.CLOSED)


class ClientTalk(ClientRelay):
    """A client's relay that understands what the client says."""

    def __init__(
        self,
        session: Any,
        transport: Any,
        most_bytes: int,
        standing: Standing,
        texts: PlainTexts,
    ) -> None:
        super().__init__(session, transport, most_bytes, standing)
        self.texts = texts
        self.is_refusing = False
        self.is_watched = False  # a topology concerns it: see ``holding``

    def take(self, kind: int) -> int:
        """Decide on one message; ask for a backend when it needs one."""
        if kind == _BROKEN:
            self.session.refuse_length()
            return _CLOSED
        if self.is_refusing:
            return self._refuse(kind)
        if self.is_watched:
            verdict = self.session.watched(kind)
            if verdict != _FORWARD:
                return verdict
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
        if kind == 100 or kind == 99 or kind == 102:  # d, c, f
            if stream.owing == 0:
                return _DROPPED  # its COPY has ended: a server ignores it, too
            stream.note_copy(_COPY_DATA if kind == 100 else _COPY_END)
        elif kind == 70:  # F
            if not stream.is_skipping:
                self.session.judge.call()
                self.start()
                stream.expect(_CALL)
        elif kind != 72 or self.stream.end - self.stream.start != _FLUSH_BYTES:  # H
            return self.session.take(kind)  # nothing answers a Flush, not even one that fails
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
        plain = not stream.is_partial and self.texts.has(text)
        if not plain:
            verdict = self.session.judge_query(text)
            if verdict != _FORWARD:
                return verdict
        if self.backend is None and not self.acquire():
            return self.not_acquired()
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
