"""Rows of several workers become one table."""

import json

import pytest

from shardrouter.proxy.telemetry.census import COLUMNS, merged, stats
from tests.support.fake_workers import BACKEND, CLIENT, LEASE, MOVE, NODE, POOL, SHARD
from tests.support.proxy_snapshots import histogram, route, snapshot

EXAMPLES = {
    "clients": CLIENT,
    "backends": BACKEND,
    "pools": POOL,
    "nodes": NODE,
    "shards": SHARD,
    "moves": MOVE,
    "leases": LEASE,
}


@pytest.mark.parametrize("what", COLUMNS)
def test_a_row_comes_back_in_the_order_of_its_columns(what: str) -> None:
    [row] = merged(what, [json.loads(json.dumps([EXAMPLES[what]]))])
    assert tuple(row) == COLUMNS[what]


@pytest.mark.parametrize("what", COLUMNS)
def test_nothing_is_nothing(what: str) -> None:
    assert merged(what, [[], []]) == []


def test_clients_are_listed_by_worker_and_number() -> None:
    answers = [[CLIENT | {"worker": 1, "id": 3}], [CLIENT | {"id": 20}, CLIENT | {"id": 4}]]
    assert [(r["worker"], r["id"]) for r in merged("clients", answers)] == [(0, 4), (0, 20), (1, 3)]


def test_pools_are_added_up_and_their_bound_is_not() -> None:
    other = POOL | {"idle": 5, "wait_max_ms": 9.0, "paused": True}
    [row] = merged("pools", [[POOL], [other]])
    assert (row["idle"], row["active"], row["waiting"], row["size"]) == (6, 4, 6, 20)
    assert (row["wait_max_ms"], row["paused"]) == (9.0, True)


def test_pools_of_other_users_stay_apart() -> None:
    assert len(merged("pools", [[POOL, POOL | {"user": "bob"}]])) == 2
    assert len(merged("pools", [[POOL, POOL | {"database": "other"}]])) == 2


def test_held_clients_are_added_up_and_the_newest_topology_speaks_for_a_move() -> None:
    newer = MOVE | {"motion": "moved", "owner": "s1", "held": 0, "epoch": 9}
    [row] = merged("moves", [[MOVE], [newer], [MOVE]])
    assert (row["motion"], row["owner"], row["held"], row["epoch"]) == ("moved", "s1", 4, 7)


def test_nodes_that_workers_see_differently_say_so() -> None:
    other = NODE | {"state": "down", "seen_role": None, "lag_bytes": 9, "problem": "refused"}
    [row] = merged("nodes", [[NODE], [other]])
    assert (row["state"], row["seen_role"], row["lag_bytes"]) == ("down / up", "primary", 9)
    assert (row["backends"], row["problem"]) == (6, "refused")


def test_a_shard_is_up_when_every_worker_says_so_and_tells_the_oldest_epoch() -> None:
    behind = SHARD | {"up": False, "epoch": 6, "primary": "s0-r1"}
    [row] = merged("shards", [[behind], [SHARD]])
    assert (row["up"], row["epoch"], row["primary"]) == (False, 6, "s0-p")


def test_stats_come_from_all_workers() -> None:
    slow = route(latency=histogram(*[0.5] * 11), queries={"ok": 1, "lost": 1, "refused": 2})
    [row] = stats([snapshot(1), snapshot(2, routes=[slow])])
    assert (row["queries"], row["errors"]) == (15, 4)
    assert row["query_p50_ms"] < 1.1
    assert 260 < row["query_p99_ms"] < 530
