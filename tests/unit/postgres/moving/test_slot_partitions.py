"""Which slots a hash partition holds."""

import pytest

from shardrouter.postgres.moving.slot_partitions import slots_of_partition


@pytest.mark.parametrize(
    ("bound", "slots"),
    [
        ("FOR VALUES WITH (modulus 4, remainder 1)", {1, 5, 9, 13}),
        ("FOR VALUES WITH (modulus 16, remainder 15)", {15}),
        ("FOR VALUES WITH (modulus 64, remainder 37)", {5}),
        ("FOR VALUES WITH (modulus 1, remainder 0)", set(range(16))),
        ("FOR VALUES WITH (modulus 3, remainder 1)", None),
        ("FOR VALUES WITH (modulus 12, remainder 1)", None),
        ("DEFAULT", None),
        ("FOR VALUES FROM (0) TO (4)", None),
    ],
)
def test_slots_of_a_partition(bound: str, slots: set[int] | None) -> None:
    assert slots_of_partition(bound, 16) == slots
