# C types of pair.py for Cython; plain Python does not read this file.
cimport cython
from shardrouter.wire.backend_stream cimport BackendStream
from shardrouter.wire.client_stream cimport ClientStream
from shardrouter.proxy.relay.standing cimport Standing
from shardrouter.proxy.relay.tally cimport Tally

cdef int _NONE, _CONTINUED
cdef int _SEEN_QUIET, _SEEN_CUT, _SEEN_RARE, _SEEN_BROKEN
cdef int _FORWARD, _DROPPED, _WAIT, _CLOSED, _HELD, _IDLE

cdef class ClientRelay:
    cdef public object session
    cdef public Standing standing
    cdef public object pool
    cdef public long long version
    cdef public bint is_started
    cdef public bint is_particular
    cdef public object statements
    cdef public object transport
    cdef public ClientStream stream
    cdef public BackendRelay backend
    cdef public object settings
    cdef public object params
    cdef public bint keeps
    cdef public bint is_transparent
    cdef public bint is_waiting
    cdef public bint waits_plainly
    cdef public object waiter
    cdef public bint is_write_paused
    cdef public bint is_dropping
    cdef public double answered_at
    cdef public double wrote_at
    cdef public long long queries
    cdef public long long bytes_in
    cdef public long long bytes_out
    cdef public long long out_before
    cdef public double started
    cdef public bytes text
    cdef public Py_ssize_t span
    cdef public list pieces

    @cython.locals(stream=ClientStream, kind=int, verdict=int)
    cpdef process(self)
    cpdef put(self, bytes data)
    cpdef flush(self)
    cdef _end_span(self, Py_ssize_t end)
    @cython.locals(data=bytes, backend=BackendRelay)
    cdef _flush(self, Py_ssize_t end)
    cpdef int take(self, int kind) except -1
    @cython.locals(stream=BackendStream)
    cpdef start(self)
    @cython.locals(backend=BackendRelay, standing=Standing, idle=list, now=double)
    cpdef bint acquire(self) except -1
    cdef bint _stand_in_row(self, object pool) except -1
    cpdef int not_acquired(self) except -1

cdef class BackendRelay:
    cdef public object keeper
    cdef public object pool
    cdef public object transport
    cdef public Tally tally
    cdef public BackendStream stream
    cdef public ClientRelay client
    cdef public ClientRelay paused
    cdef public object settings
    cdef public object params
    cdef public object unnamed
    cdef public dict prepared
    cdef public object parsing
    cdef public bint is_primary
    cdef public int suspicion
    cdef public bint is_held
    cdef public bint is_doubtful
    cdef public bint is_release_due
    cdef public double idle_since
    cdef public double slow_seconds

    @cython.locals(client=ClientRelay)
    cpdef quiet(self)
    @cython.locals(client=ClientRelay)
    cdef bint _hand_over(self, object pool) except -1
    @cython.locals(client=ClientRelay)
    cpdef detach(self)
