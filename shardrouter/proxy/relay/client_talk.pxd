# C types of client_talk.py for Cython; plain Python does not read this file.
cimport cython
from shardrouter.wire.backend_stream cimport BackendStream
from shardrouter.wire.client_stream cimport ClientStream
from shardrouter.proxy.relay.pair cimport BackendRelay, ClientRelay
from shardrouter.sql.plain cimport PlainTexts

cdef int _BROKEN, _QUERY, _SYNC, _CALL, _EXECUTE, _COPY_DATA, _COPY_END
cdef int _FORWARD, _DROPPED, _CLOSED

cdef class ClientTalk(ClientRelay):
    cdef public PlainTexts texts
    cdef public bint is_refusing
    cdef public bint is_watched

    @cython.locals(verdict=int)
    cpdef int take(self, int kind) except -1
    cdef int _refuse(self, int kind) except -1
    @cython.locals(stream=BackendStream)
    cdef int _rest(self, int kind) except -1
    @cython.locals(stream=ClientStream, backend=BackendRelay, plain=bint, text=bytes, verdict=int)
    cdef int _query(self) except -1
    @cython.locals(backend=BackendRelay)
    cdef int _sync(self) except -1
