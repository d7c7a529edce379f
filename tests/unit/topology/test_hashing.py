"""Hashes and slots against values that Postgres 15 gave, at both speeds."""

import random
from uuid import UUID

import pytest

from tests.support.twins import Twin, compiled_twin, pure_twin

UUID_ZERO = UUID("00000000-0000-0000-0000-000000000000")
UUID_FOUR = UUID("550e8400-e29b-41d4-a716-446655440000")

# value, extended hash as a bigint, row hash, slot of 4096, slot of 16384
INTS = [
    (0, -4403592609991167795, 0x0C8440B74FD699B0, 2480, 6576),
    (1, 5968994663651403477, 0x9C7715E2970A8FB8, 4024, 4024),
    (-1, -5017072347659237694, 0x0400BC251F3BAFA5, 4005, 12197),
    (4294967295, -5017072347659237694, 0x0400BC251F3BAFA5, 4005, 12197),
    (42, 7363975540656877951, 0xAFD30D9A116A5A62, 2658, 6754),
    (123456789, -922921598128084246, 0x3CD2148F59EFD3CD, 973, 5069),
    (2147483648, 4938542303000433043, 0x8E2A2EEC347A3A76, 2678, 14966),
    (2**63 - 1, 4938542303000433043, 0x8E2A2EEC347A3A76, 2678, 14966),
    (-2147483649, -6050265599104649060, 0xF5AA185B5E7FA17F, 383, 8575),
    (-(2**63), -6050265599104649060, 0xF5AA185B5E7FA17F, 383, 8575),
]
BYTES = [
    (b"", -5700645584453517373, 0xFA8431E86A2568A6, 2214, 10406),
    (b"hello", -2635279551741001039, 0x250E9012D8862B94, 2964, 11156),
    (b"user:42", 5311578898225753450, 0x935779BAC71A964D, 1613, 5709),
    ("日本語".encode(), -8050275759738715173, 0xD9E8A1B65ABBACBE, 3262, 11454),
    (
        b"the quick brown fox jumps over the lazy dog",
        -760430510495933589,
        0x3F135D57DF6B044E,
        1102,
        1102,
    ),
    (UUID_ZERO.bytes, -5281082146396728638, 0x0056C8A1C0433BA5, 2981, 15269),
    (UUID_FOUR.bytes, -3467891652331307802, 0x198087C78D25A5C9, 1481, 9673),
]


@pytest.mark.parametrize(("value", "hashed", "row", "slot", "slot_of_16384"), INTS)
def test_integers(
    twin: Twin, value: int, hashed: int, row: int, slot: int, slot_of_16384: int
) -> None:
    assert twin.hashing.int_hash(value) == hashed % 2**64
    assert twin.hashing.combine_hashes(0, twin.hashing.int_hash(value)) == row
    assert twin.hashing.int_slot(value, 4096) == slot
    assert twin.hashing.int_slot(value, 16384) == slot_of_16384


@pytest.mark.parametrize(("value", "hashed", "row", "slot", "slot_of_16384"), BYTES)
def test_bytes(
    twin: Twin, value: bytes, hashed: int, row: int, slot: int, slot_of_16384: int
) -> None:
    assert twin.hashing.bytes_hash(value) == hashed % 2**64
    assert twin.hashing.combine_hashes(0, twin.hashing.bytes_hash(value)) == row
    assert twin.hashing.bytes_slot(value, 4096) == slot
    assert twin.hashing.bytes_slot(value, 16384) == slot_of_16384


def test_two_columns(twin: Twin) -> None:
    row = twin.hashing.combine_hashes(0, twin.hashing.int_hash(42))
    row = twin.hashing.combine_hashes(row, twin.hashing.bytes_hash(b"user:42"))
    assert row == 0x82E4124FEA573163


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**30, -(10**30)])
def test_more_than_64_bits_overflow(twin: Twin, value: int) -> None:
    with pytest.raises(OverflowError):
        twin.hashing.int_hash(value)
    with pytest.raises(OverflowError):
        twin.hashing.int_slot(value, 4096)


@pytest.mark.parametrize("value", [None, "text"])
def test_other_types_are_no_slot(twin: Twin, value: object) -> None:
    with pytest.raises(TypeError):
        twin.hashing.int_slot(value, 4096)
    with pytest.raises(TypeError):
        twin.hashing.bytes_slot(value, 4096)


def test_both_speeds_agree() -> None:
    compiled = compiled_twin()
    if compiled is None:
        pytest.skip("no compiled module")
    pure, fast, rng = pure_twin().hashing, compiled.hashing, random.Random(4096)
    for size in (*range(100), *(rng.randrange(5000) for _ in range(50))):
        data = rng.randbytes(size)
        assert pure.bytes_hash(data) == fast.bytes_hash(data), data
    for _ in range(5000):
        value, row = rng.getrandbits(64) - 2**63, rng.getrandbits(64)
        column = pure.int_hash(value)
        assert column == fast.int_hash(value), value
        assert pure.combine_hashes(row, column) == fast.combine_hashes(row, column)
