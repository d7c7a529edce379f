# C types of backend_stream.py for Cython; plain Python does not read this file.
cimport cython

cdef int _QUERY, _SYNC, _CALL, _PARSE, _BIND, _DESCRIBE, _EXECUTE, _CLOSE
cdef int _PARSE_HIDDEN, _CLOSE_HIDDEN, _PARSE_FAKE, _CLOSE_FAKE, _OWN, _PARSE_UNNAMED
cdef int _SEEN_READY, _SEEN_QUIET, _SEEN_EVENTS, _SEEN_CUT, _SEEN_BROKEN, _SEEN_PARSED
cdef int _SEEN_DOUBTFUL, _SEEN_UNNAMED_LOST
cdef int _HIDE, _FOR_US
cdef Py_ssize_t _HEADER, _HELD_BYTES, _LONGEST_PLAN, _MOST_BYTES
cdef bytes _PARSE_COMPLETE, _CLOSE_COMPLETE

cdef class BackendStream:
    cdef public bytearray plan
    cdef public Py_ssize_t head
    cdef public int status
    cdef public int ready_count
    cdef public bint is_skipping
    cdef public bint is_copy_in
    cdef public bytes data
    cdef public list pieces
    cdef public list events
    cdef public list outcomes
    cdef public bytes tail
    cdef public Py_ssize_t left

    cpdef int owed(self)
    cpdef expect(self, int code)
    cpdef bint is_mid_message(self)

    @cython.locals(flags=int, size=Py_ssize_t, at=Py_ssize_t, start=Py_ssize_t, plan=bytearray,
                   owed=int, kind=int, length=Py_ssize_t, end=Py_ssize_t, found=int)
    cpdef int feed(self, bytes data) except -2

    cdef int _pop(self)
    cdef _keep(self, bytes data, Py_ssize_t start, Py_ssize_t end, int flags)
    cdef int _judge(self, int kind, int owed, bytes data, Py_ssize_t at, Py_ssize_t end) except -2
    cdef int _judge_rare(self, int kind, int owed) except -2
    @cython.locals(rest=bytearray)
    cdef int _ignore_syncs(self) except -2
    @cython.locals(flags=int, was_copy=bint, code=int)
    cdef int _fail(self, int owed, bytes data, Py_ssize_t at, Py_ssize_t end) except -2

cdef bint _must_be_whole(int kind, int owed)
