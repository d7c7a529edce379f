"""``rebalance plan --by load`` without a file: by what library and proxy have counted."""

import pytest
from sqlalchemy import text

from shardrouter import Router
from shardrouter.catalog import CatalogStore
from shardrouter.errors import MoveRefused
from shardrouter.rebalance import Measure, Wanted
from tests.integration.cli.conftest import Run
from tests.plugins.fix_proxy import MakeProxy
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.orders import Base, keys_on

QUERIES = 20
ONE = text("SELECT 1")


def test_hot_slots_of_library_and_proxy_are_spread(
    run: Run, cluster: Cluster, cluster_store: CatalogStore, make_proxy: MakeProxy
) -> None:
    def plan(*options: str) -> tuple[str, ...]:
        return ("rebalance", "plan", *options, "--config", str(cluster.settings_path))

    with Router.from_config(cluster.settings_path) as router:
        router.create_all(Base)
        with pytest.raises(MoveRefused, match="no router has reported queries"):
            router.rebalance.plan(Wanted(Measure.LOAD))
        refused = run(*plan("--by", "load"))
        assert refused.code == 1
        assert "give --loads FILE" in refused.err

        keys = keys_on(router, "s0", 4)
        hot = {router.slot_of(key) for key in keys}
        for key in keys[:2]:
            with router.session(key=key) as session:
                for _ in range(QUERIES):
                    session.execute(ONE)
        proxy = make_proxy()
        with proxy.connect() as connection:
            connection.execute(f"SET shardrouter.key = '{keys[2]}'")
            for _ in range(QUERIES):
                connection.execute("SELECT 1")
            # Both tell within a second or so, while they run.
            eventually(lambda: len(cluster_store.router_loads().total()) == 3)
            connection.execute(f"SET shardrouter.key = '{keys[3]}'")
            for _ in range(QUERIES):
                connection.execute("SELECT 1")
        assert proxy.stop() == 0  # a worker tells the rest when it ends

        total = cluster_store.router_loads().total()
        assert total == {slot: pytest.approx(QUERIES, rel=0.1) for slot in hot}
        said = run(*plan("--by", "load", "-o", "json"))
        assert said.code == 0, said.err
        planned = said.data["plan"]
        [move] = planned["moves"]
        assert (move["batch"]["source"], move["batch"]["target"]) == ("s0", "s1")
        assert len(move["batch"]["slots"]) == 2
        assert set(move["batch"]["slots"]) < hot
        assert planned["imbalance_before"] == pytest.approx(2.0, abs=0.01)
        assert planned["imbalance_after"] == pytest.approx(1.0, abs=0.1)
