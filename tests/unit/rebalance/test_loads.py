"""Load files, and shards that lack tables."""

from pathlib import Path

import pytest

from shardrouter.errors import MoveRefused
from shardrouter.rebalance.loads import Survey, counted_loads, read_loads
from shardrouter.rebalance.planning.price import SlotLoads
from shardrouter.topology import ShardId, Slot
from tests.support.topologies import small_topology


def test_loads_are_read(tmp_path: Path) -> None:
    path = tmp_path / "loads.json"
    path.write_text('{"3": 1.5, "0": 2}')
    assert read_loads(path, 16)[:4] == (2.0, 0.0, 0.0, 1.5)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"16": 1}', '{"-1": 1}', '{"1": -1}', '{"1": "NaN"}', '{"x": 1}', '{"1": null}'],
)
def test_anything_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "loads.json"
    path.write_text(text)
    with pytest.raises(MoveRefused, match="holds no loads"):
        read_loads(path, 16)


def test_a_shard_that_lacks_tables_takes_no_slots() -> None:
    found = Survey(SlotLoads((), ()), {}, {}, {ShardId("s2"): ("public.orders",)})
    found.require_tables(ShardId("s1"))
    with pytest.raises(MoveRefused, match=r"lacks the registered tables public.orders") as raised:
        found.require_tables(ShardId("s2"))
    assert raised.value.hint == "make them with `shardrouter shard prepare s2`"


def test_what_routers_counted_are_loads() -> None:
    topology = small_topology()
    loads = counted_loads({Slot(3): 2.5, Slot(0): 1.0}, topology)
    assert len(loads) == topology.slots
    assert loads[:4] == (1.0, 0.0, 0.0, 2.5)


@pytest.mark.parametrize("queries", [{}, {Slot(3): 0.0}])
def test_no_counted_query_is_refused(queries: dict[Slot, float]) -> None:
    with pytest.raises(MoveRefused, match="no router has reported queries of slots") as raised:
        counted_loads(queries, small_topology())
    assert raised.value.epoch == small_topology().epoch
    assert "--loads FILE" in str(raised.value.hint)
