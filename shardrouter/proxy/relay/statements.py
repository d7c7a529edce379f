# cython: annotation_typing=False, boundscheck=False, wraparound=False
"""Prepared statements of one client over backends that come and go.

A client's names are mapped to definitions, which have one name on every backend. A backend that
does not know a definition is sent its Parse in front of the message that needs it, with the answer
kept from the client. A Parse that it knows already is answered here when nothing else is under
way; otherwise the server answers it, under a name that is closed again, so that it fails where a
Parse would fail. The unnamed statement is followed likewise, as drivers use it over several round
trips.

What was asked is taken as done within its batch (see ``undecided``). In the next batch a name waits
until that is known.
"""

from typing import Any

from shardrouter.proxy.relay.definition import UNKNOWN, parse_message
from shardrouter.proxy.relay.pair import BackendRelay, ClientRelay
from shardrouter.proxy.relay.undecided import Asked
from shardrouter.proxy.relay.verdicts import Verdict
from shardrouter.wire.codes import Owed

_DROPPED = int(Verdict.DROPPED)
_FORWARD = int(Verdict.FORWARD)
_REPLACED = int(Verdict.REPLACED)
_WAIT = int(Verdict.WAIT)
_PREPARED, _NAMED, _REFUSED, _CLOSED_NAME, _UNNAMED, _BROUGHT = map(int, Asked)
_PARSE = int(Owed.PARSE)
_BIND = int(Owed.BIND)
_DESCRIBE = int(Owed.DESCRIBE)
_CLOSE = int(Owed.CLOSE)
_PARSE_HIDDEN = int(Owed.PARSE_HIDDEN)
_CLOSE_HIDDEN = int(Owed.CLOSE_HIDDEN)
_CLOSE_FAKE = int(Owed.CLOSE_FAKE)
_PARSE_UNNAMED = int(Owed.PARSE_UNNAMED)
_UNKNOWN = UNKNOWN
_IDLE = 73  # I
_FAILED = 69  # E

_PARSE_COMPLETE = b"1\0\0\0\4"
_CLOSE_COMPLETE = b"3\0\0\0\4"
_CLOSE_UNNAMED = b"C\0\0\0\6S\0"
_OUR_PREFIX = b"_sr"
_OWN_SETTING = b"shardrouter."
_TRIED = b"_sr0"  # the name of a Parse that is sent only to see what the server says
_CLOSE_TRIED = b"C\0\0\0\x0aS_sr0\0"


class Statements:
    """What one client has prepared."""

    def __init__(
        self, relay: ClientRelay, session: Any, definitions: Any, most_on_a_backend: int
    ) -> None:
        self.relay = relay
        self.session = session
        self.definitions = definitions
        self.most_on_a_backend = most_on_a_backend
        self.names: dict[bytes, Any] = {}
        self.unnamed: Any = None
        self.changes = 0  # of the unnamed statement
        self.lone_change = 0  # the last that was sent while nothing else was under way
        self.hits = self.misses = 0

    def take(self, kind: int) -> int:
        """Decide on a Parse, Bind, Describe or Close."""
        if self.relay.is_transparent:
            return self._transparent(kind)
        if kind == 66:  # B
            return self._bind()
        if kind == 80:  # P
            return self._parse()
        return self._describe() if kind == 68 else self._close()  # D, C

    def _transparent(self, kind: int) -> int:
        """The client has its backend for itself: names are its own."""
        code = _PARSE_UNNAMED if kind == 80 else _BIND
        if kind == 68 or kind == 67:
            code = _DESCRIBE if kind == 68 else _CLOSE
        if self._backend() is None:
            return self.relay.not_acquired()
        stream = self.relay.stream
        if kind == 80 and _OWN_SETTING in stream.data[stream.start : stream.end].lower():
            return self._parse_own()
        return self._plain(code)

    def _parse_own(self) -> int:
        """The statement may be about the proxy's settings, which are no server's."""
        relay = self.relay
        stream = relay.stream
        name_end = stream.data.find(b"\0", stream.start + 5, stream.end)
        if name_end < 0 or stream.is_partial:
            return self._plain(_PARSE_UNNAMED)
        definition = self.session.define(stream.data[name_end + 1 : stream.end])
        judged = self.session.judge.own_parse(definition)
        if judged is None:
            return self.relay.not_acquired()
        if judged is definition or relay.backend.stream.is_skipping:
            return self._plain(_PARSE_UNNAMED)
        relay.put(parse_message(stream.data[stream.start + 5 : name_end], judged.body))
        self._plain(_PARSE_UNNAMED)
        return _DROPPED

    def _backend(self) -> Any:
        relay = self.relay
        if relay.backend is None and not relay.acquire():
            return None
        return relay.backend

    def _plain(self, code: int) -> int:
        backend = self.relay.backend
        if not backend.stream.is_skipping:
            self.relay.start()
            backend.stream.expect(code)
        return _FORWARD

    def _parse(self) -> int:
        relay = self.relay
        stream = relay.stream
        data = stream.data
        name_end = data.find(b"\0", stream.start + 5, stream.end)
        if name_end < 0:  # the server says what is wrong with it
            return self._plain(_BIND) if self._backend() is not None else self.relay.not_acquired()
        definition = None
        if not stream.is_partial:
            body = data[name_end + 1 : stream.end]
            definition = self.definitions.get(body) or self.session.define(body)
        else:
            definition = self.session.define_long(data[name_end + 1 : stream.end])
        judged = definition if definition.is_plain else self.session.judge_parse(definition)
        backend = None if judged is None else self._backend()
        if backend is None:
            return self.relay.not_acquired()
        if backend.stream.is_skipping:
            return _FORWARD
        relay.start()
        if name_end == stream.start + 5:
            self._expect_unnamed(backend)
            self.unnamed = judged
            backend.unnamed = judged
            if judged is definition:
                return _FORWARD
            relay.put(judged.unnamed_parse)
            return _DROPPED
        if self._is_undecided(backend):
            return self._wait(backend)
        return self._parse_named(backend, data[stream.start + 5 : name_end], definition, judged)

    def _expect_unnamed(self, backend: BackendRelay) -> None:
        stream = backend.stream
        if stream.owing == 0:
            self.changes += 1
            self.lone_change = self.changes
            stream.expect(_PARSE_UNNAMED)
        else:
            self._note_change(backend)
            stream.expect(_PARSE)

    def _note_change(self, backend: BackendRelay) -> None:
        self.changes += 1
        before = (self.changes, self.unnamed, backend.unnamed)
        backend.parsing.append((_UNNAMED, before, None))

    def _is_undecided(self, backend: BackendRelay) -> bool:
        """True when an answer that is on its way may change what a name means."""
        return bool(backend.parsing) and backend.stream.is_undecided()

    def _wait(self, backend: BackendRelay) -> int:
        backend.is_held = True  # the message is taken again when all is answered, or before
        return _WAIT

    def _parse_named(self, backend: BackendRelay, name: bytes, given: Any, judged: Any) -> int:
        relay = self.relay
        known = self.names.get(name)
        if known is not None:
            # The server refuses it in its own words: under that name it has a statement already.
            self._prepare(backend, known)
            body = known.body if judged.body is None else judged.body
            relay.put(parse_message(known.name, body))
            backend.parsing.append((_REFUSED, None, None))
            backend.stream.expect(_PARSE)
            return _DROPPED
        self.names[name] = given  # what stands in its place is found anew at each use
        if judged in backend.prepared:
            self.hits += 1
            return self._parse_again(backend, name, judged)
        self.misses += 1
        self._make_room(backend)
        backend.prepared[judged] = True
        backend.parsing.append((_NAMED, judged, name))
        if judged.body is None:
            relay.put(self.session.long_parse(judged, len(name)))
            backend.stream.expect(_PARSE)
            return _REPLACED
        relay.put(judged.named_parse)
        backend.stream.expect(_CLOSE_HIDDEN)
        backend.stream.expect(_PARSE)
        return _DROPPED

    def _parse_again(self, backend: BackendRelay, name: bytes, definition: Any) -> int:
        """Take a Parse of what the backend has. Definitions too long to be kept are never met."""
        relay = self.relay
        stream = backend.stream
        if stream.owed() == 0 and stream.status != _FAILED:
            relay.transport.write(_PARSE_COMPLETE)
            return _DROPPED
        relay.put(parse_message(_TRIED, definition.body) + _CLOSE_TRIED)
        backend.parsing.append((_NAMED, None, name))
        stream.expect(_PARSE)
        stream.expect(_CLOSE_HIDDEN)
        return _DROPPED

    def _prepare(self, backend: BackendRelay, definition: Any) -> None:
        """Make sure that the backend has the statement, as far as it can be made again."""
        prepared = backend.prepared
        if definition in prepared:
            self.hits += 1
            if 2 * len(prepared) > self.most_on_a_backend:
                prepared[definition] = prepared.pop(definition)  # the last in order is the newest
            return
        self.misses += 1
        if not definition.named_parse:
            self.session.bring(definition)
            return
        self._make_room(backend)
        prepared[definition] = True
        self.relay.put(definition.named_parse)
        backend.stream.expect(_CLOSE_HIDDEN)
        backend.parsing.append((_PREPARED, definition, None))
        backend.stream.expect(_PARSE_HIDDEN)

    def _make_room(self, backend: BackendRelay) -> None:
        """Close the least recently used statements, where no portal can hang on them."""
        stream = backend.stream
        if stream.status != _IDLE or stream.owed() != 0:
            return
        prepared = backend.prepared
        while prepared and len(prepared) >= self.most_on_a_backend:
            oldest = next(iter(prepared))
            del prepared[oldest]
            self.session.count_eviction()
            self.relay.put(
                b"C" + (len(oldest.name) + 6).to_bytes(4, "big") + b"S" + oldest.name + b"\0"
            )
            stream.expect(_CLOSE_HIDDEN)

    def _bind(self) -> int:
        relay = self.relay
        stream = relay.stream
        data = stream.data
        portal_end = data.find(b"\0", stream.start + 5, stream.end)
        name_end = data.find(b"\0", portal_end + 1, stream.end) if portal_end >= 0 else -1
        if name_end < 0:
            return self._plain(_BIND) if self._backend() is not None else self.relay.not_acquired()
        if name_end == portal_end + 1:
            return self._bind_unnamed()
        return self._bind_named(portal_end, name_end)

    def _bind_named(self, portal_end: int, name_end: int) -> int:
        relay = self.relay
        name = relay.stream.data[portal_end + 1 : name_end]
        definition = self.names.get(name)
        if definition is not None and not definition.is_plain:
            definition = self.session.judge_parse(definition)
            if definition is None:
                return self.relay.not_acquired()
        backend = self._backend()
        if backend is None:
            return self.relay.not_acquired()
        if backend.stream.is_skipping:
            return _FORWARD
        if self._is_undecided(backend):
            return self._wait(backend)
        relay.start()
        if definition is not None:
            if not definition.is_plain:
                self.session.mark()
            relay.text = definition.body or b""
            self._prepare(backend, definition)
            name = definition.name
        elif name.startswith(_OUR_PREFIX):
            name = b"?" + name  # never somebody else's statement
        relay.put(self._renamed_bind(portal_end, name_end, name))
        backend.stream.expect(_BIND)
        return _REPLACED

    def _renamed_bind(self, portal_end: int, name_end: int, name: bytes) -> bytes:
        """Return what has come of the Bind, with another statement's name."""
        stream = self.relay.stream
        data = stream.data
        length = int.from_bytes(data[stream.start + 1 : stream.start + 5], "big")
        length += len(name) - (name_end - portal_end - 1)
        portal = data[stream.start + 5 : portal_end + 1]
        return b"B" + length.to_bytes(4, "big") + portal + name + data[name_end : stream.end]

    def _bind_unnamed(self) -> int:
        definition = self.unnamed
        if definition is not None and not definition.is_plain:
            self.session.judge_use(definition)
        backend = self._backend()
        if backend is None:
            return self.relay.not_acquired()
        if not backend.stream.is_skipping:
            if backend.unnamed is not definition and self._is_undecided(backend):
                return self._wait(backend)
            self.relay.start()
            if definition is not None:
                self.relay.text = definition.body or b""
                if not definition.is_plain:
                    self.session.mark()
            if backend.unnamed is not definition:
                self._bring_unnamed(backend, definition)
            backend.stream.expect(_BIND)
        return _FORWARD

    def _bring_unnamed(self, backend: BackendRelay, definition: Any) -> None:
        """Put the client's unnamed statement, or its absence, on the backend."""
        if definition is None or definition.body is None:
            self.relay.put(_CLOSE_UNNAMED)
            backend.unnamed = None if backend.stream.owing == 0 else _UNKNOWN
            backend.stream.expect(_CLOSE_HIDDEN)
            return
        self.relay.put(definition.unnamed_parse)
        backend.parsing.append((_BROUGHT, None, None))
        backend.stream.expect(_PARSE_HIDDEN)
        backend.unnamed = definition

    def _describe(self) -> int:
        relay = self.relay
        stream = relay.stream
        data = stream.data
        backend = self._backend()
        if backend is None:
            return self.relay.not_acquired()
        if backend.stream.is_skipping:
            return _FORWARD
        if self._is_undecided(backend):
            return self._wait(backend)
        relay.start()
        is_statement = stream.end - stream.start > 5 and data[stream.start + 5] == 83  # S
        if is_statement and stream.end - stream.start > 7:
            name = data[stream.start + 6 : stream.end - 1]
            definition = self.names.get(name)
            if definition is not None and not definition.is_plain:
                definition = self.session.judge_parse(definition)
                if definition is None:
                    return self.relay.not_acquired()
            if definition is not None:
                self._prepare(backend, definition)
                name = definition.name
            elif name.startswith(_OUR_PREFIX):
                name = b"?" + name
            relay.put(b"D" + (len(name) + 6).to_bytes(4, "big") + b"S" + name + b"\0")
            backend.stream.expect(_DESCRIBE)
            return _DROPPED
        if is_statement and backend.unnamed is not self.unnamed:
            self._bring_unnamed(backend, self.unnamed)
        backend.stream.expect(_DESCRIBE)
        return _FORWARD

    def _close(self) -> int:
        relay = self.relay
        stream = relay.stream
        data = stream.data
        backend = relay.backend
        if backend is not None and backend.stream.is_skipping:
            return _FORWARD
        target = data[stream.start + 5] if stream.end - stream.start > 6 else 0
        name = data[stream.start + 6 : stream.end - 1]
        if target == 83:  # S
            return self._close_name(backend, name) if name else self._close_unnamed(backend)
        if target == 80 and backend is None:  # P
            relay.transport.write(_CLOSE_COMPLETE)
            return _DROPPED
        return self._plain(_CLOSE) if self._backend() is not None else self.relay.not_acquired()

    def _close_unnamed(self, backend: BackendRelay | None) -> int:
        if backend is None or backend.stream.owing == 0:
            self.relay.transport.write(_CLOSE_COMPLETE)
        else:
            self._note_change(backend)
            backend.stream.expect(_CLOSE_FAKE)
        self.unnamed = None
        return _DROPPED

    def _close_name(self, backend: BackendRelay | None, name: bytes) -> int:
        """Answer a Close here: the statement stays on the backend, for others and for later."""
        if backend is not None and self._is_undecided(backend):
            return self._wait(backend)
        known = self.names.pop(name, None)
        if backend is None or backend.stream.owed() == 0:
            self.relay.transport.write(_CLOSE_COMPLETE)
        else:
            backend.parsing.append((_CLOSED_NAME, known, name))
            backend.stream.expect(_CLOSE_FAKE)
        return _DROPPED
