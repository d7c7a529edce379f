# C types of client_stream.py for Cython; plain Python does not read this file.
cimport cython

cdef int _NONE, _CONTINUED, _BROKEN
cdef Py_ssize_t _HEADER, _HELD_BYTES, _PREFIX_BYTES

cdef class ClientStream:
    cdef public bytes data
    cdef public Py_ssize_t start
    cdef public Py_ssize_t end
    cdef public Py_ssize_t left
    cdef public Py_ssize_t most_bytes
    cdef public bint is_partial

    cpdef feed(self, bytes data)
    @cython.locals(data=bytes, at=Py_ssize_t, size=Py_ssize_t, length=Py_ssize_t, end=Py_ssize_t, kind=int)
    cpdef int next(self) except -1
    cpdef back(self)
    cpdef Py_ssize_t rest(self)
    cdef int _continue(self, Py_ssize_t at, Py_ssize_t size) except -1
