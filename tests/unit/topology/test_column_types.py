"""Which columns can be shard keys, by what Postgres' catalog says of them."""

import pytest

from shardrouter.errors import UnsupportedSchema
from shardrouter.topology import KeyType, key_type_of_column


@pytest.mark.parametrize("key_type", list(KeyType))
def test_key_types(key_type: KeyType) -> None:
    assert key_type_of_column("t.k", str(key_type)) is key_type


def test_lengths_do_not_matter_and_full_precision_is_exact() -> None:
    assert key_type_of_column("t.k", "varchar", type_modifier=24) is KeyType.VARCHAR
    assert key_type_of_column("t.k", "timestamptz", type_modifier=6) is KeyType.TIMESTAMPTZ


@pytest.mark.parametrize(
    ("type_name", "why"),
    [
        ("float4", "floats that print alike"),
        ("float8", "floats that print alike"),
        ("numeric", "1, 1.0, 1.00"),
        ("money", "locale"),
        ("bpchar", "padded with blanks"),
        ("name", "63 bytes"),
        ("citext", "lower case"),
        ("json", "no equality"),
        ("jsonb", "equal documents"),
        ("bytea", "Postgres 15"),
        ("bool", "two values"),
        ("mood_enum", "does not hash alike"),
        ("_int8", "does not hash alike"),
        ("interval", "does not hash alike"),
    ],
)
def test_other_types_are_refused(type_name: str, why: str) -> None:
    pattern = rf"t\.k of type {type_name} cannot be a shard key: .*{why}"
    with pytest.raises(UnsupportedSchema, match=pattern) as caught:
        key_type_of_column("t.k", type_name)
    assert "int8" in str(caught.value.hint)


def test_nondeterministic_collations_are_refused() -> None:
    for type_name in ("text", "varchar"):
        with pytest.raises(UnsupportedSchema, match="nondeterministic"):
            key_type_of_column("t.k", type_name, has_deterministic_collation=False)


@pytest.mark.parametrize("type_name", ["int8", "text"])
def test_other_encodings_are_refused(type_name: str) -> None:
    with pytest.raises(UnsupportedSchema, match="the encoding LATIN1"):
        key_type_of_column("t.k", type_name, encoding="LATIN1")


@pytest.mark.parametrize("precision", [0, 3, 5])
def test_rounded_timestamps_are_refused(precision: int) -> None:
    for type_name in ("timestamp", "timestamptz"):
        with pytest.raises(UnsupportedSchema, match="rounded"):
            key_type_of_column("t.k", type_name, type_modifier=precision)
