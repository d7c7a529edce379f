# C types of plain.py for Cython; plain Python does not read this file.
cimport cython

@cython.locals(low=str, words=list, head=str)
cpdef bint is_plain(bytes text) except -1
cdef str _without_comment(str low)
