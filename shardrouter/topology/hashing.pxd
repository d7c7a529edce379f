# C types of hashing.py for Cython; plain Python does not read this file. The parameters of a
# function are typed here and nowhere else: annotation_typing is off in the .py.
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef uint32_t _WORD, _INIT, _INT_A, _INT_B, _INT_C
cdef uint64_t _ROW, _COMBINE

cpdef Py_ssize_t int_slot(object value, Py_ssize_t slots)

cpdef Py_ssize_t bytes_slot(bytes data, Py_ssize_t slots)

@cython.locals(word=uint32_t)
cpdef uint64_t int_hash(int64_t value)

@cython.locals(size=Py_ssize_t, padded=bytes, at=Py_ssize_t, a=uint32_t, b=uint32_t, c=uint32_t)
cpdef uint64_t bytes_hash(bytes data)

@cython.locals(mixed=uint64_t)
cpdef uint64_t combine_hashes(uint64_t row, uint64_t column)

cdef uint32_t _word(bytes data, Py_ssize_t at)

cdef uint64_t _final(uint64_t a, uint64_t b, uint64_t c)
