# cython: boundscheck=False, wraparound=False
"""Hash keys exactly as PostgreSQL's hash partitioning does, bit for bit.

Knows integers and bytes only; ``keys`` turns other values into them and refuses what has no slot.
A column hash is the *extended* hash of Postgres (``hash_bytes_extended``, Bob Jenkins' lookup3)
with the seed of hash partitions, 0x7A5B22367996DCFD, as an unsigned 64-bit number.

This file runs as it is, and is compiled with the C types of ``hashing.pxd``. So constants stand
in the code as literals, and every step masks to the width its C type has.
"""


def int_slot(value: int, slots: int) -> int:
    """Return the slot of an int2, int4 or int8 key; ``slots`` is a power of two.

    Raises OverflowError when the value does not fit into a bigint.
    """
    # The row hash of one column is hash + 0x49A0F4DD15E5A8E3; a slot is its low bits.
    return ((int_hash(value) & 0xFFFFFFFF) + 0x15E5A8E3) & (slots - 1)


def bytes_slot(data: bytes, slots: int) -> int:
    """Return the slot of a text (its UTF-8 bytes) or uuid (16 bytes) key."""
    return ((bytes_hash(data) & 0xFFFFFFFF) + 0x15E5A8E3) & (slots - 1)


def int_hash(value: int) -> int:
    """Return the column hash of an int2, int4 or int8 (of a date: days, timestamp: microseconds).

    Raises OverflowError when the value does not fit into a bigint.
    """
    if not -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        raise OverflowError("value does not fit into a bigint")
    # hashint8 folds the high word in such that an int4 hashes the same in every integer type.
    word = (value ^ (value >> 32) if value >= 0 else value ^ ~(value >> 32)) & 0xFFFFFFFF
    # What init(4 bytes, seed) gives is the same for every key.
    return _final((0xE933553E + word) & 0xFFFFFFFF, 0xC5DA07A8, 0xFDFD95ED)


def bytes_hash(data: bytes) -> int:
    """Return the column hash of a text (its UTF-8 bytes) or uuid (16 bytes)."""
    size = len(data)
    padded = data + b"\0\0\0\0\0\0\0\0\0\0\0\0"
    a = b = c = (0x9E3779B9 + 3923095 + size) & 0xFFFFFFFF
    a = (a + 0x7A5B2236) & 0xFFFFFFFF
    b = (b + 0x7996DCFD) & 0xFFFFFFFF
    at = 0
    while True:  # The seed is mixed in first, then each full block of 12 bytes.
        a = (a - c) & 0xFFFFFFFF ^ ((c << 4) & 0xFFFFFFFF | c >> 28)
        c = (c + b) & 0xFFFFFFFF
        b = (b - a) & 0xFFFFFFFF ^ ((a << 6) & 0xFFFFFFFF | a >> 26)
        a = (a + c) & 0xFFFFFFFF
        c = (c - b) & 0xFFFFFFFF ^ ((b << 8) & 0xFFFFFFFF | b >> 24)
        b = (b + a) & 0xFFFFFFFF
        a = (a - c) & 0xFFFFFFFF ^ ((c << 16) & 0xFFFFFFFF | c >> 16)
        c = (c + b) & 0xFFFFFFFF
        b = (b - a) & 0xFFFFFFFF ^ ((a << 19) & 0xFFFFFFFF | a >> 13)
        a = (a + c) & 0xFFFFFFFF
        c = (c - b) & 0xFFFFFFFF ^ ((b << 4) & 0xFFFFFFFF | b >> 28)
        b = (b + a) & 0xFFFFFFFF
        if size - at < 12:
            break
        a = (a + _word(padded, at)) & 0xFFFFFFFF
        b = (b + _word(padded, at + 4)) & 0xFFFFFFFF
        c = (c + _word(padded, at + 8)) & 0xFFFFFFFF
        at += 12
    a = (a + _word(padded, at)) & 0xFFFFFFFF
    b = (b + _word(padded, at + 4)) & 0xFFFFFFFF
    # At most 11 bytes are left: the low byte of c stands for the length.
    c = (c + (_word(padded, at + 8) << 8)) & 0xFFFFFFFF
    return _final(a, b, c)


def combine_hashes(row: int, column: int) -> int:
    """Return the row hash with one more column hash in it; an empty row is 0."""
    mixed = column + 0x49A0F4DD15E5A8E3 + (row << 54 & 0xFFFFFFFFFFFFFFFF) + (row >> 7)
    return row ^ (mixed & 0xFFFFFFFFFFFFFFFF)


def _word(data: bytes, at: int) -> int:
    """Return the little-endian 32-bit word at a place."""
    return data[at] | data[at + 1] << 8 | data[at + 2] << 16 | data[at + 3] << 24


def _final(a: int, b: int, c: int) -> int:
    c = ((c ^ b) - ((b << 14) & 0xFFFFFFFF | b >> 18)) & 0xFFFFFFFF
    a = ((a ^ c) - ((c << 11) & 0xFFFFFFFF | c >> 21)) & 0xFFFFFFFF
    b = ((b ^ a) - ((a << 25) & 0xFFFFFFFF | a >> 7)) & 0xFFFFFFFF
    c = ((c ^ b) - ((b << 16) & 0xFFFFFFFF | b >> 16)) & 0xFFFFFFFF
    a = ((a ^ c) - ((c << 4) & 0xFFFFFFFF | c >> 28)) & 0xFFFFFFFF
    b = ((b ^ a) - ((a << 14) & 0xFFFFFFFF | a >> 18)) & 0xFFFFFFFF
    c = ((c ^ b) - ((b << 24) & 0xFFFFFFFF | b >> 8)) & 0xFFFFFFFF
    return b << 32 | c
