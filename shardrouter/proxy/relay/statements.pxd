# C types of statements.py for Cython; plain Python does not read this file.
cimport cython
from shardrouter.wire.backend_stream cimport BackendStream
from shardrouter.wire.client_stream cimport ClientStream
from shardrouter.proxy.relay.pair cimport BackendRelay, ClientRelay

cdef int _DROPPED, _FORWARD, _REPLACED, _WAIT, _IDLE, _FAILED
cdef int _PREPARED, _NAMED, _REFUSED, _CLOSED_NAME, _UNNAMED, _BROUGHT
cdef object _UNKNOWN
cdef int _PARSE, _BIND, _DESCRIBE, _CLOSE, _PARSE_HIDDEN, _CLOSE_HIDDEN, _CLOSE_FAKE
cdef int _PARSE_UNNAMED
cdef bytes _PARSE_COMPLETE, _CLOSE_COMPLETE, _CLOSE_UNNAMED, _OUR_PREFIX, _TRIED, _CLOSE_TRIED

cdef class Statements:
    cdef ClientRelay relay
    cdef object session
    cdef object definitions
    cdef public Py_ssize_t most_on_a_backend
    cdef public dict names
    cdef public object unnamed
    cdef public long long changes
    cdef public long long lone_change
    cdef public long long hits
    cdef public long long misses

    cpdef int take(self, int kind) except -1
    @cython.locals(code=int)
    cdef int _transparent(self, int kind) except -1
    cdef BackendRelay _backend(self)
    @cython.locals(backend=BackendRelay)
    cdef int _plain(self, int code) except -1
    cdef bint _is_undecided(self, BackendRelay backend) except -1
    cdef int _wait(self, BackendRelay backend) except -1
    @cython.locals(relay=ClientRelay, stream=ClientStream, data=bytes, name_end=Py_ssize_t, body=bytes,
                   backend=BackendRelay)
    cdef int _parse(self) except -1
    @cython.locals(relay=ClientRelay)
    cdef int _parse_named(self, BackendRelay backend, bytes name, object given, object judged) except -1
    @cython.locals(relay=ClientRelay, stream=BackendStream)
    cdef int _parse_again(self, BackendRelay backend, bytes name, object definition) except -1
    @cython.locals(stream=BackendStream)
    cdef _expect_unnamed(self, BackendRelay backend)
    cdef _note_change(self, BackendRelay backend)
    @cython.locals(prepared=dict)
    cdef _prepare(self, BackendRelay backend, object definition)
    @cython.locals(prepared=dict, stream=BackendStream)
    cdef _make_room(self, BackendRelay backend)
    @cython.locals(relay=ClientRelay, stream=ClientStream, data=bytes, portal_end=Py_ssize_t,
                   name_end=Py_ssize_t)
    cdef int _bind(self) except -1
    @cython.locals(relay=ClientRelay, name=bytes, backend=BackendRelay)
    cdef int _bind_named(self, Py_ssize_t portal_end, Py_ssize_t name_end) except -1
    @cython.locals(stream=ClientStream, data=bytes, length=Py_ssize_t, portal=bytes)
    cdef bytes _renamed_bind(self, Py_ssize_t portal_end, Py_ssize_t name_end, bytes name)
    @cython.locals(backend=BackendRelay)
    cdef int _bind_unnamed(self) except -1
    cdef _bring_unnamed(self, BackendRelay backend, object definition)
    @cython.locals(relay=ClientRelay, stream=ClientStream, data=bytes, backend=BackendRelay,
                   is_statement=bint, name=bytes)
    cdef int _describe(self) except -1
    @cython.locals(relay=ClientRelay, stream=ClientStream, data=bytes, backend=BackendRelay,
                   target=int, name=bytes)
    cdef int _close(self) except -1
    cdef int _close_unnamed(self, BackendRelay backend) except -1
    cdef int _close_name(self, BackendRelay backend, bytes name) except -1
