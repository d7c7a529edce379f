"""The text of slot expressions; what they give is tested against Postgres."""

import pytest

from shardrouter.errors import UnsupportedSchema
from shardrouter.topology import KeyColumn, KeyType, slot_sql

ID = KeyColumn("id", KeyType.INT8)


@pytest.mark.parametrize(
    ("slots", "constant"), [(64, 35), (1024, 227), (4096, 2275), (16384, 10467)]
)
def test_one_integer_column(slots: int, constant: int) -> None:
    mask = slots - 1
    assert slot_sql([ID], slots) == (
        f'(((hashint8extended("id", 8816678312871386365) & {mask}) + {constant}) & {mask})'
    )


def test_names_are_quoted_and_prefixed() -> None:
    odd = KeyColumn('a"; DROP TABLE {x} --', KeyType.TEXT)
    assert 'hashtextextended(NEW."a""; DROP TABLE {x} --", ' in slot_sql([odd], 4096, "NEW.")


@pytest.mark.parametrize("count", [0, 5])
def test_too_few_or_many_columns_are_refused(count: int) -> None:
    with pytest.raises(UnsupportedSchema, match="1 to 4 columns"):
        slot_sql([ID] * count, 4096)


@pytest.mark.parametrize("slots", [0, 8, 1000, 32768])
def test_other_slot_counts_are_refused(slots: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        slot_sql([ID], slots)
