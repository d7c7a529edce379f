"""``shardrouter shard`` on real nodes: what is checked, what becomes of slots, who may leave."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from shardrouter.catalog import CatalogStore
from shardrouter.cli import shard as shard_commands
from shardrouter.topology import Shard, ShardId, Table, TableKind, Topology
from tests.integration.cli.conftest import Run
from tests.support.cluster import Cluster

Dsn = Callable[[str], str]


def counts(store: CatalogStore) -> dict[str, int]:
    return dict(store.load().slot_counts())


def test_first_shards_get_slots_at_once(two_shards: Run, store_now: CatalogStore) -> None:
    topology = store_now.load()
    assert topology.epoch == 2
    assert counts(store_now) == {"s0": 32, "s1": 32}
    assert [node.id for _, node in topology.nodes()] == ["s0-p", "s0-r1", "s1-p", "s1-r1"]
    history = store_now.history()
    assert [item.reason for item in history] == ["shard add s1", "shard add s0"]
    assert "@" in history[0].actor


def test_dry_run_shows_and_changes_nothing(
    founded: Run, node: Dsn, store_now: CatalogStore
) -> None:
    said = founded("shard", "add", "s0", "--primary", node("s0-p"), "--dry-run", "-o", "json")
    assert said.code == 0
    assert said.data["published"] is False
    assert {"what": "slots", "name": "s0", "before": "", "after": "64 slots"} in said.data[
        "changes"
    ]
    assert store_now.epoch() == 0
    said = founded("shard", "add", "s0", "--primary", node("s0-p"), "--dry-run")
    assert "dry run: epoch 1 would change" in said.out


@pytest.mark.parametrize(
    ("primary", "replica", "said"),
    [
        ("s0-r1", None, "s0-p was given as primary but is a replica"),
        ("s0-p", "s1-r1", "s0-r1 is not a replica of s0-p (system identifiers"),
        ("s0-p", "s1-p", "s0-r1 was given as replica but is a primary"),
    ],
)
def test_nodes_are_checked(
    founded: Run, node: Dsn, store_now: CatalogStore, primary: str, replica: str | None, said: str
) -> None:
    replicas = ["--replica", node(replica)] if replica else []
    answer = founded("shard", "add", "s0", "--primary", node(primary), *replicas)
    assert answer.code == 1
    assert said in answer.err
    assert store_now.epoch() == 0


def test_database_of_another_encoding(founded: Run, node: Dsn, cluster: Cluster) -> None:
    name = f"{cluster.database}_latin1"
    with cluster.fleet.node("s0-p").connect("postgres") as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0".encode()
        )
        try:
            said = founded(
                "shard", "add", "s0", "--primary", make_conninfo(node("s0-p"), dbname=name)
            )
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    assert said.code == 1
    assert "s0-p has a database of encoding LATIN1, not UTF8" in said.err


def test_node_that_does_not_answer(founded: Run) -> None:
    said = founded("shard", "add", "s0", "--primary", "postgresql://127.0.0.1:1/x")
    assert said.code == 1
    assert "no connection" in said.err
    assert "[shard s0, node s0-p]" in said.err


def test_same_database_twice(two_shards: Run, node: Dsn) -> None:
    said = two_shards("shard", "add", "s2", "--primary", node("s0-p"))
    assert said.code == 1
    assert "s2-p is the database of shard s0" in said.err


@pytest.mark.parametrize(
    ("name", "options", "code", "said"),
    [
        ("s0", (), 1, "there is a shard s0 already"),
        ("S 2", (), 1, "is not a name"),
        ("s2", ("--weight", "-1"), 2, ""),
        ("s2", ("--replica", "just words"), 1, "--replica is not a connection string"),
    ],
)
def test_wrong_names_and_options(
    two_shards: Run, node: Dsn, name: str, options: tuple[str, ...], code: int, said: str
) -> None:
    answer = two_shards("shard", "add", name, "--primary", node("s0-p"), *options)
    assert answer.code == code
    assert said in answer.err


def with_table(store: CatalogStore, table: Table) -> None:
    now = store.load()
    store.publish(
        now.next(tables=(*now.tables, table)), expected=now.epoch, actor="tests", reason="table"
    )


def test_with_tables_a_new_shard_owns_nothing_and_the_output_says_so(
    two_shards: Run, node: Dsn, store_now: CatalogStore, cluster: Cluster
) -> None:
    with_table(store_now, Table("countries", TableKind.REFERENCE))
    before = store_now.load().owners
    other = make_conninfo(node("s0-p"), dbname="postgres")
    said = two_shards("shard", "add", "s2", "--primary", other)
    assert said.code == 0, said.err
    assert "shard s2 owns no slots: tables are registered, so moves must bring them" in said.err
    assert store_now.load().owners == before
    assert counts(store_now)["s2"] == 0


def test_list(two_shards: Run) -> None:
    said = two_shards("shard", "list", "-o", "json").data
    assert [(s["shard"], s["weight"], s["slots"], len(s["nodes"])) for s in said] == [
        ("s0", 1, 32, 2),
        ("s1", 1, 32, 2),
    ]
    assert "password=***" in said[0]["nodes"][0]["dsn"]
    table = two_shards("shard", "list").out.splitlines()
    assert table[0].split() == ["shard", "weight", "slots", "node", "role", "zone", "dsn"]
    assert len(table) == 5


def test_list_of_an_empty_fleet(founded: Run) -> None:
    assert "no shards yet" in founded("shard", "list").out
    assert founded("shard", "list", "-o", "json").data == []


def test_drain_and_remove(two_shards: Run, store_now: CatalogStore) -> None:
    assert two_shards("shard", "remove", "s1").code == 1
    assert two_shards("shard", "drain", "s1", "--dry-run").code == 0
    assert counts(store_now) == {"s0": 32, "s1": 32}
    assert two_shards("shard", "drain", "s1", "--reason", "too old").code == 0
    assert counts(store_now) == {"s0": 64, "s1": 0}
    assert store_now.history()[0].reason == "too old"
    again = two_shards("shard", "drain", "s1")
    assert (again.code, again.out) == (0, "nothing to change at epoch 3\n")
    assert two_shards("shard", "drain", "s0").code == 1
    assert two_shards("shard", "remove", "s1", "--dry-run").code == 0
    assert two_shards("shard", "remove", "s1").code == 0
    assert counts(store_now) == {"s0": 64}
    assert two_shards("shard", "remove", "s1").code == 1


def test_drain_with_tables_leaves_the_slots_and_says_so(
    two_shards: Run, store_now: CatalogStore
) -> None:
    with_table(store_now, Table("audit", TableKind.LOCAL, shard=ShardId("s1")))
    said = two_shards("shard", "drain", "s1", "-o", "json")
    assert said.data["notes"] == [
        "shard s1 still owns 32 slots: moves take them away, `shardrouter shard drain s1 --wait`"
    ]
    assert counts(store_now) == {"s0": 32, "s1": 32}
    refused = two_shards("shard", "remove", "s1")
    assert (refused.code, "it owns 32 slots" in refused.err) == (1, True)


def test_concurrent_change_ends_with_code_3(
    two_shards: Run, node: Dsn, store_now: CatalogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody publishes while the nodes of the new shard are examined."""
    examine = shard_commands.examine_shard

    def slowly(shard: Shard, current: Topology | None, *timeouts: Any) -> tuple[str, ...]:
        assert current is not None
        weights = tuple(replace(s, weight=5) for s in current.shards)
        store_now.publish(
            current.next(shards=weights), expected=current.epoch, actor="ann", reason="first"
        )
        return examine(shard, current, *timeouts)

    monkeypatch.setattr(shard_commands, "examine_shard", slowly)
    other = make_conninfo(node("s0-p"), dbname="postgres")
    said = two_shards("shard", "add", "s2", "--primary", other)
    assert said.code == 3
    assert "published by ann" in said.err
    assert "shardrouter topology diff 2 3" in said.err
    assert [s.id for s in store_now.load().shards] == ["s0", "s1"]


def test_primary_that_is_down_cannot_be_compared_and_the_note_says_so(
    two_shards: Run, node: Dsn, store_now: CatalogStore
) -> None:
    now = store_now.load()
    primary = replace(now.shard("s1").primary, dsn="postgresql://127.0.0.1:1/x")
    dead = replace(now.shard("s1"), nodes=(primary,))
    store_now.publish(
        now.next(shards=(now.shard("s0"), dead)), expected=now.epoch, actor="tests", reason="r"
    )
    other = make_conninfo(node("s0-p"), dbname="postgres")
    said = two_shards("shard", "add", "s2", "--primary", other)
    assert said.code == 0
    assert "note: s1-p could not be compared with the new nodes" in said.err
