# C types of backend_stream.py for Cython; plain Python does not read this file.
cimport cython

cdef bytes _ACTIONS
cdef int _WIDTH
cdef int _PASS, _NEXT, _READY, _HIDE_NEXT, _PARSED, _HIDE_PARSED, _FAIL, _EVENT, _COPY_IN
cdef int _OWN_READY, _BROKEN
cdef int _QUERY, _SYNC, _CALL, _PARSE, _EXECUTE, _PARSE_HIDDEN, _PARSE_FAKE, _CLOSE_FAKE
cdef int _PARSE_UNNAMED
cdef int _SEEN_READY, _SEEN_QUIET, _SEEN_EVENTS, _SEEN_CUT, _SEEN_BROKEN, _SEEN_PARSED
cdef int _SEEN_DOUBTFUL, _SEEN_UNNAMED_LOST
cdef int _FOR_US
cdef Py_ssize_t _HEADER, _READY_BYTES, _HELD_BYTES, _LONGEST_PLAN, _MOST_BYTES
cdef bytes _PARSE_COMPLETE, _CLOSE_COMPLETE

cdef class BackendStream:
    cdef public bytearray plan
    cdef public Py_ssize_t head
    cdef public int owing
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
    cdef public Py_ssize_t start
    cdef public int flags

    cpdef int owed(self)
    cpdef expect(self, int code)
    cpdef bint is_mid_message(self)
    @cython.locals(size=Py_ssize_t, at=Py_ssize_t, kind=int, length=Py_ssize_t, end=Py_ssize_t,
                   action=int)
    cpdef int feed(self, bytes data) except -2
    cdef int _finish(self, Py_ssize_t at, Py_ssize_t size) except -2
    cdef _cut(self, Py_ssize_t end, Py_ssize_t start)
    cdef _pop(self)
    cdef bint _act(self, int action, int kind, Py_ssize_t at, Py_ssize_t end) except -2
    cdef bint _act_rarely(self, int action, int kind, Py_ssize_t at, Py_ssize_t end) except -2
    cdef _note(self, int kind, Py_ssize_t at, Py_ssize_t end)
    cdef bint _take_own(self, int action, int kind, Py_ssize_t at, Py_ssize_t end) except -2
    cdef bint _answer_fakes(self, Py_ssize_t end) except -2
    @cython.locals(rest=bytearray)
    cdef _ignore_syncs(self)
    @cython.locals(owed=int, was_copy=bint)
    cdef _fail(self, int kind, Py_ssize_t at, Py_ssize_t end)
    @cython.locals(owed=int)
    cdef _skip(self)
