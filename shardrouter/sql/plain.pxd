# C types of plain.py for Cython; plain Python does not read this file.
cimport cython

@cython.locals(low=str, words=list, head=str)
cpdef bint is_plain(bytes text) except -1
cdef str _without_comment(str low)

cdef Py_ssize_t _LONGEST_SHAPE, _MOST_SHAPES
cdef bytes _DIGITS

cdef class PlainTexts:
    cdef public dict known
    cdef public bint may_begin
    @cython.locals(shape=bytes, known=object)
    cpdef bint has(self, bytes text) except -1
    cdef bint _read(self, bytes text) except -1
