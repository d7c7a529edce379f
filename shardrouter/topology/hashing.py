# cython: annotation_typing=False, boundscheck=False, wraparound=False
"""Hash keys exactly as PostgreSQL's hash partitioning does, bit for bit.

Knows integers and bytes only; ``keys`` turns other values into them and refuses what has no slot.
A column hash is the *extended* hash of Postgres (``hash_bytes_extended``, Bob Jenkins' lookup3)
with the seed of hash partitions, 0x7A5B22367996DCFD, as an unsigned 64-bit number.

This file runs as it is, and is compiled with the C types of ``hashing.pxd``: every step masks to
the width its C type has.
"""

# Wide numbers have names, so that the .pxd can type them: literals of more than 31 bits would be
# Python objects in the compiled module.
_WORD = 0xFFFFFFFF
_ROW = 0xFFFFFFFFFFFFFFFF
_COMBINE = 0x49A0F4DD15E5A8E3  # what hash_combine64 adds to each column hash
_INIT = 0x9E3779B9 + 3923095
_INT_A, _INT_B, _INT_C = 0xE933553E, 0xC5DA07A8, 0xFDFD95ED  # what init(4 bytes, seed) gives


def int_slot(value: int, slots: int) -> int:
    """Return the slot of an int2, int4 or int8 key; ``slots`` is a power of two.

    The caller has made sure that the value is an int (compiled, a float would be cut off).
    Raises OverflowError when the value does not fit into a bigint.
    """
    # The row hash of one column is hash + 0x49A0F4DD15E5A8E3; a slot is its low bits.
    return ((int_hash(value) & _WORD) + 0x15E5A8E3) & (slots - 1)


def bytes_slot(data: bytes, slots: int) -> int:
    """Return the slot of a text (its UTF-8 bytes) or uuid (16 bytes) key."""
    return ((bytes_hash(data) & _WORD) + 0x15E5A8E3) & (slots - 1)


def int_hash(value: int) -> int:
    """Return the column hash of an int2, int4 or int8 (of a date: days, timestamp: microseconds).

    Raises OverflowError when the value does not fit into a bigint.
    """
    if not -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        raise OverflowError("value does not fit into a bigint")
    # hashint8 folds the high word in such that an int4 hashes the same in every integer type.
    word = (value ^ (value >> 32) if value >= 0 else value ^ ~(value >> 32)) & _WORD
    return _final((_INT_A + word) & _WORD, _INT_B, _INT_C)


def bytes_hash(data: bytes) -> int:
    """Return the column hash of a text (its UTF-8 bytes) or uuid (16 bytes)."""
    size = len(data)
    padded = data + b"\0\0\0\0\0\0\0\0\0\0\0\0"
    a = b = c = (_INIT + size) & _WORD
    a = (a + 0x7A5B2236) & _WORD
    b = (b + 0x7996DCFD) & _WORD
    at = 0
    while True:  # The seed is mixed in first, then each full block of 12 bytes.
        a = (a - c) & _WORD ^ ((c << 4) & _WORD | c >> 28)
        c = (c + b) & _WORD
        b = (b - a) & _WORD ^ ((a << 6) & _WORD | a >> 26)
        a = (a + c) & _WORD
        c = (c - b) & _WORD ^ ((b << 8) & _WORD | b >> 24)
        b = (b + a) & _WORD
        a = (a - c) & _WORD ^ ((c << 16) & _WORD | c >> 16)
        c = (c + b) & _WORD
        b = (b - a) & _WORD ^ ((a << 19) & _WORD | a >> 13)
        a = (a + c) & _WORD
        c = (c - b) & _WORD ^ ((b << 4) & _WORD | b >> 28)
        b = (b + a) & _WORD
        if size - at < 12:
            break
        a = (a + _word(padded, at)) & _WORD
        b = (b + _word(padded, at + 4)) & _WORD
        c = (c + _word(padded, at + 8)) & _WORD
        at += 12
    a = (a + _word(padded, at)) & _WORD
    b = (b + _word(padded, at + 4)) & _WORD
    # At most 11 bytes are left: the low byte of c stands for the length.
    c = (c + (_word(padded, at + 8) << 8)) & _WORD
    return _final(a, b, c)


def combine_hashes(row: int, column: int) -> int:
    """Return the row hash with one more column hash in it; an empty row is 0."""
    mixed = column + _COMBINE + ((row & 0x3FF) << 54) + (row >> 7)
    return row ^ (mixed & _ROW)


def _word(data: bytes, at: int) -> int:
    """Return the little-endian 32-bit word at a place."""
    return data[at] | data[at + 1] << 8 | data[at + 2] << 16 | data[at + 3] << 24


def _final(a: int, b: int, c: int) -> int:
    c = ((c ^ b) - ((b << 14) & _WORD | b >> 18)) & _WORD
    a = ((a ^ c) - ((c << 11) & _WORD | c >> 21)) & _WORD
    b = ((b ^ a) - ((a << 25) & _WORD | a >> 7)) & _WORD
    c = ((c ^ b) - ((b << 16) & _WORD | b >> 16)) & _WORD
    a = ((a ^ c) - ((c << 4) & _WORD | c >> 28)) & _WORD
    b = ((b ^ a) - ((a << 14) & _WORD | a >> 18)) & _WORD
    c = ((c ^ b) - ((b << 24) & _WORD | b >> 8)) & _WORD
    return b << 32 | c
