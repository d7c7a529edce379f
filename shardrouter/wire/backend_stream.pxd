# C types of backend_stream.py for Cython; plain Python does not read this file.
cimport cython

cdef bytes _ACTIONS
cdef int _WIDTH
cdef int _PASS, _NEXT, _READY, _HIDE_NEXT, _PARSED, _HIDE_PARSED, _FAIL, _EVENT, _COPY_IN, _COPY_DONE, _COPY_FAIL
cdef int _OWN_READY, _BROKEN
cdef int _QUERY, _SYNC, _CALL, _OWN, _PARSE, _EXECUTE, _PARSE_HIDDEN, _CLOSE_FAKE
cdef int _PARSE_UNNAMED, _QUERY_COPY, _EXECUTE_COPY, _COPY_DATA, _COPY_END
cdef int _SEEN_READY, _SEEN_QUIET, _SEEN_EVENTS, _SEEN_CUT, _SEEN_BROKEN, _SEEN_PARSED
cdef int _SEEN_DOUBTFUL, _SEEN_UNNAMED_LOST
cdef int _FOR_US, _DONE, _FAILED, _SKIPPED
cdef Py_ssize_t _HEADER, _READY_BYTES, _HELD_BYTES, _LONGEST_PLAN, _MOST_BYTES
cdef bytes _CLOSE_COMPLETE, _INTRUDED

cdef class BackendStream:
    cdef public bytearray plan
    cdef public Py_ssize_t head
    cdef public int owing
    cdef public int status
    cdef public int ready_count
    cdef public bint is_skipping
    cdef public int spare_syncs
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
    cpdef take_over(self)
    cpdef note_copy(self, int code)
    @cython.locals(at=Py_ssize_t, code=int, is_pending=bint)
    cpdef bint is_undecided(self)
    @cython.locals(last=int)
    cpdef bint will_be_quiet(self)
    cpdef bint is_mid_message(self)
    @cython.locals(size=Py_ssize_t, at=Py_ssize_t, before=Py_ssize_t, kind=int, length=Py_ssize_t,
                   end=Py_ssize_t, action=int)
    cpdef int feed(self, bytes data) except -2
    cdef int _break(self, Py_ssize_t before) except -2
    cdef int _finish(self, Py_ssize_t at, Py_ssize_t size) except -2
    cdef _cut(self, Py_ssize_t end, Py_ssize_t start)
    @cython.locals(plan=bytearray)
    cdef _pop(self)
    cdef bint _act(self, int action, int kind, Py_ssize_t at, Py_ssize_t end) except -2
    cdef bint _act_rarely(self, int action, int kind, Py_ssize_t at, Py_ssize_t end) except -2
    cdef _note(self, int kind, Py_ssize_t at, Py_ssize_t end)
    cdef bint _take_own(self, int action, int kind, Py_ssize_t at, Py_ssize_t end) except -2
    cdef bint _answer_fakes(self, Py_ssize_t end) except -2
    cdef _decide(self, int outcome)
    @cython.locals(owed=int, outcome=int)
    cdef _fail(self, int kind, Py_ssize_t at, Py_ssize_t end)
    cdef _skip(self, int owed, int outcome)
    cdef _set_head(self, int code)
    @cython.locals(at=Py_ssize_t, kept=bytearray)
    cdef _end_copy(self)
    cdef _leave_copy(self, bytearray rest)
    @cython.locals(is_intruded=bint, has_data=bint, syncs=int, kept=bytearray, behind=Py_ssize_t,
                   code=int)
    cdef _break_copy(self, int kind, Py_ssize_t at, Py_ssize_t end)
    @cython.locals(code=int)
    cdef _judge_break(self, Py_ssize_t behind, bint is_intruded, int syncs)
    cdef bint _take_spare(self, int kind, Py_ssize_t at, Py_ssize_t end) except -2
