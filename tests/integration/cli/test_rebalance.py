"""``shardrouter rebalance`` and ``shardrouter move`` on a fleet that a third shard has joined."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import func, select

from shardrouter import Router
from shardrouter.catalog import CatalogStore, NewMove
from shardrouter.topology import MoveState, ShardId
from tests.integration.cli.conftest import Run
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.moving_bed import drop_subscriptions
from tests.support.orders import Base, User

KEYS = range(1, 241)


@pytest.fixture
def third(cluster: Cluster) -> Iterator[str]:
    """The DSN of an empty database beside s0's, for shard s2."""
    name = f"{cluster.database}_s2"
    server = cluster.fleet.node("s1-p")
    with server.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    yield make_conninfo(cluster.dsn("s1-p"), dbname=name)
    with server.connect(name) as connection:
        drop_subscriptions(connection)
    for node in cluster.primaries():
        with cluster.connect(node.id) as connection:
            drop_subscriptions(connection)
    with server.connect("postgres") as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def router(cluster: Cluster) -> Iterator[Router]:
    """A router on the fleet, whose tables stand and hold users with an order each."""
    with Router.from_config(cluster.settings_path) as opened:
        opened.create_all(Base)
        for server in cluster.primaries():
            with cluster.connect(server.id) as connection, connection.cursor() as cursor:
                keys = [(key,) for key in KEYS if opened.shard_of(key).id == server.shard_id]
                cursor.executemany("INSERT INTO users VALUES (%s, 'user')", keys)
                cursor.executemany("INSERT INTO orders VALUES (1, %s, 'first')", keys)
        yield opened


@pytest.fixture
def grown(run: Run, cluster: Cluster, router: Router, third: str) -> Run:
    """The command on a fleet of three shards, of which the third owns nothing yet."""

    def call(*arguments: str) -> Any:
        return run(*arguments, "--config", str(cluster.settings_path))

    added = call("shard", "add", "s2", "--primary", third)
    assert added.code == 0, added.err
    return call


def count_users(router: Router) -> dict[str, int]:
    report = router.map(lambda session: session.scalar(select(func.count()).select_from(User)))
    report.raise_if_failed()
    return {str(shard): int(count or 0) for shard, count in report.values.items()}


@pytest.mark.slow
def test_a_third_shard_gets_its_share(
    grown: Run, cluster_store: CatalogStore, router: Router
) -> None:
    plan = grown("rebalance", "plan", "-o", "json")
    assert plan.code == 0, plan.err
    planned = plan.data["plan"]
    slots = sum(len(move["batch"]["slots"]) for move in planned["moves"])
    assert slots == cluster_store.fleet().slots // 3
    assert planned["imbalance_before"] == 1.5
    done = grown("rebalance", "apply", "--yes", "--soak", "0")
    assert done.code == 0, done.err
    counts = cluster_store.load().slot_counts()
    assert max(counts.values()) - min(counts.values()) <= 1
    assert [move.state for move in cluster_store.moves().list()] == [MoveState.DONE, MoveState.DONE]
    assert "copying" in done.err
    held = count_users(router)
    assert sum(held.values()) == len(KEYS)
    assert held["s2"] > len(KEYS) // 5


def test_plans_are_looked_at_saved_and_out_of_date(
    grown: Run, cluster_store: CatalogStore, tmp_path: Path
) -> None:
    epoch = cluster_store.epoch()
    saved = str(tmp_path / "plan.json")
    said = grown("rebalance", "plan", "--max-moves", "1", "--exclude", "s1", "--save", saved)
    assert said.code == 0, said.err
    assert said.out.splitlines()[0].split()[:4] == ["move", "from", "to", "count"]
    assert "1 moves, " in said.out
    assert "assumed: no move of this fleet was measured yet" in said.err
    sql = grown("rebalance", "apply", "--plan", saved, "--dry-run", "--soak", "0")
    assert sql.code == 0, sql.err
    assert "-- preparing, on shard s0" in sql.out
    assert "CREATE PUBLICATION" in sql.out
    assert "CREATE SUBSCRIPTION" in sql.out
    unasked = grown("rebalance", "apply", "--plan", saved)
    assert (unasked.code, "repeat the command with --yes" in unasked.err) == (1, True)
    grown("table", "add", "notes", "--reference")
    stale = grown("rebalance", "apply", "--plan", saved, "--yes")
    assert stale.code == 3
    assert f"the plan is of epoch {epoch}, the fleet is at {epoch + 1}" in stale.err
    assert cluster_store.moves().list() == []


@pytest.mark.slow
def test_what_cannot_be_planned(grown: Run, cluster: Cluster, third: str, tmp_path: Path) -> None:
    refused = grown("rebalance", "plan", "--by", "load")
    assert (refused.code, "--loads FILE" in refused.err) == (1, True)
    (tmp_path / "loads.json").write_text('{"17": 4, "no": 1}')
    refused = grown("rebalance", "plan", "--by", "load", "--loads", str(tmp_path / "loads.json"))
    assert (refused.code, "holds no loads of slots" in refused.err) == (1, True)
    (tmp_path / "loads.json").write_text('{"17": 4}')
    assert grown("rebalance", "plan", "--loads", str(tmp_path / "loads.json")).code == 2
    heat = grown("rebalance", "plan", "--by", "load", "--loads", str(tmp_path / "loads.json"))
    assert heat.code == 0, heat.err
    assert grown("rebalance", "plan", "--exclude", "5-x").code == 1  # no shard of that name
    assert grown("move", "create", "--slots", "5-x", "--from", "s0", "--to", "s1").code == 2
    with psycopg.connect(third) as connection:
        connection.execute("DROP TABLE orders")
    lacks = grown("rebalance", "plan")
    assert lacks.code == 1
    assert "lacks the registered tables public.orders [shard s2]" in lacks.err
    assert "shardrouter shard prepare s2" in lacks.err


def test_a_move_soaks_is_verified_and_comes_back(
    grown: Run, cluster_store: CatalogStore, router: Router, cluster: Cluster
) -> None:
    slot = router.slot_of(7)
    source = router.shard_of(7).id
    isolate = ("rebalance", "isolate", "--key", "7", "--to", "s2")
    said = grown(*isolate, "--yes", "--no-wait", "--soak", "600")
    assert said.code == 0, said.err
    [status] = grown("rebalance", "status", "-o", "json").data
    assert (status["state"], status["slots"], status["from"]) == ("soaking", str(slot), source)
    number = str(status["move"])
    assert f"`shardrouter move reverse {number}`" in status["next"]
    assert "soaking" in grown("rebalance", "resume", "--no-wait").out
    assert grown("move", "verify", number).out == (
        "public.orders: 1 rows are equal on both sides\n"
        "public.users: 1 rows are equal on both sides\n"
    )
    assert router.shard_of(7).id == "s2"
    with cluster.connect(f"{source}-p") as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE orders SET note = 'forged' WHERE user_id = 7")
        differs = grown("move", "verify", number)
        connection.execute("UPDATE orders SET note = 'first' WHERE user_id = 7")
    assert differs.code == 1
    assert "1 rows of public.orders differ" in differs.err
    assert "forged" in differs.err
    back = grown("move", "reverse", number, "--yes")
    assert back.code == 0, back.err
    assert router.topology.owners[slot] == source
    assert "reversed" in grown("move", "list").out
    shown = grown("move", "show", number)
    assert "state     reversed" in shown.out
    assert "cleaning" in shown.out
    assert grown("move", "verify", number).code == 1
    assert grown("move", "abort", number, "--yes").code == 1
    assert grown("move", "show", "99").code == 1


@pytest.mark.slow
def test_a_shard_is_emptied(grown: Run, cluster_store: CatalogStore, router: Router) -> None:
    slots = ",".join(str(slot) for slot in cluster_store.load().slots_of(ShardId("s0"))[:3])
    create = ("move", "create", "--slots", slots, "--from", "s0", "--to", "s2")
    assert grown(*create, "--yes", "--soak", "0").code == 0
    assert cluster_store.load().slot_counts()["s2"] == 3
    said = grown("shard", "drain", "s2", "--wait", "--yes", "--soak", "0", "-o", "json")
    assert said.code == 0, said.err
    assert {(move["from"], move["state"]) for move in said.data} == {("s2", "done")}
    assert cluster_store.load().slot_counts()["s2"] == 0
    assert grown("shard", "remove", "s2").code == 0
    eventually(lambda: "s2" not in router.topology.slot_counts())
    assert sum(count_users(router).values()) == len(KEYS)


def test_moves_are_paused_limited_resumed_and_given_up(
    grown: Run, cluster_store: CatalogStore, router: Router
) -> None:
    slots = cluster_store.load().slots_of(ShardId("s0"))
    moves = cluster_store.moves()
    for number in range(3):
        new = NewMove(slots[number : number + 1], ShardId("s0"), ShardId("s2"), soak_seconds=0)
        moves.create(new, actor="tests", reason="r")
    paused = grown("rebalance", "pause", "-o", "json").data
    assert {move["wish"] for move in paused} == {"hold"}
    limited = grown("rebalance", "limits", "--delete-rows", "100", "--max-p99-ms", "50")
    assert limited.code == 0, limited.err
    assert moves.find(2).limits == {"delete_rows": 100, "max_p99_ms": 50.0}
    assert grown("rebalance", "limits").code == 2
    assert grown("rebalance", "limits", "--reset", "--copy-jobs", "4").code == 0
    assert moves.find(2).limits == {"copy_jobs": 4}
    assert grown("move", "abort", "1", "--yes").code == 0
    assert moves.find(1).state is MoveState.ABORTED
    done = grown("rebalance", "resume", "-o", "json")
    assert done.code == 0, done.err
    assert [(move["move"], move["state"]) for move in done.data] == [(2, "done"), (3, "done")]
    assert grown("rebalance", "status").out == "no move is unfinished\n"
    moves.create(NewMove(slots[5:6], ShardId("s0"), ShardId("s2")), actor="tests", reason="r")
    assert grown("rebalance", "abort").code == 1  # nobody said yes
    aborted = grown("rebalance", "abort", "--yes", "-o", "json")
    assert [move["state"] for move in aborted.data] == ["aborted"]
    assert grown("rebalance", "abort").code == 0


def test_what_another_process_carries_out_is_left_to_it(
    grown: Run, cluster_store: CatalogStore, cluster: Cluster
) -> None:
    with cluster.settings_path.open("a") as settings:
        settings.write("\n[rebalance]\nmover_lease_seconds = 1.0\n")
    slots = cluster_store.load().slots_of(ShardId("s0"))
    moves = cluster_store.moves()
    new = NewMove(slots[:1], ShardId("s0"), ShardId("s2"), soak_seconds=0)
    number = moves.create(new, actor="tests", reason="r").number
    moves.claim(number, "somebody@else", 60)
    busy = grown("rebalance", "resume")
    assert busy.code == 3, busy.err
    assert f"somebody@else carries move {number} out" in busy.err
    [status] = grown("rebalance", "status", "-o", "json").data
    assert (status["attended"], status["owner"]) == (True, "somebody@else")
