# C types of standing.py for Cython; plain Python does not read this file.

cdef class Standing:
    cdef public object clock
    cdef public long long version
    cdef public double deadline
