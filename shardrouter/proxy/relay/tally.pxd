# C types of tally.py for Cython; plain Python does not read this file.
cimport cython

cdef class Tally:
    cdef public long long queries
    cdef public long long errors
    cdef public long long lost
    cdef public long long refused
    cdef public long long transactions
    cdef public long long rolled_back
    cdef public long long lost_transactions
    cdef public long long bytes_in
    cdef public long long bytes_out
    cdef public double seconds
    cdef public list buckets
    cdef public double wait_seconds
    cdef public list wait_buckets
    cdef public int last

    cpdef waited(self, double seconds)
    @cython.locals(at=int)
    cpdef observe(self, double seconds, bint is_end)
