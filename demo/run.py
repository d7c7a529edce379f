"""The demo's sections, in order. Each shows something and raises Mismatch when it is not so."""

import random
from contextlib import ExitStack
from typing import Final

from demo.fleet import DemoFleet
from demo.freshness import check_freshness
from demo.loading_section import load
from demo.plain import plain_postgres
from demo.questions import check_join, check_rankings, load_plain
from demo.report import Report
from demo.third_shard import check_third_shard
from demo.through_proxy import check_proxy, running_proxy
from demo.transfers import check_transfers
from demo.trespass import check_guard
from shardrouter import Router

PAIRS: Final = 1_000
SEED: Final = 2013  # the same planes in every run


def run(report: Report, fleet: DemoFleet) -> None:
    """Run every section on an empty fleet. Raises Mismatch, ShardRouterError."""
    router = fleet.router
    show_fleet(report, router)
    loaded = load(report, router)
    rng = random.Random(SEED)
    check_freshness(report, router, rng.choices(loaded.tailnums, k=PAIRS))
    with plain_postgres(router) as plain:
        load_plain(report, plain, loaded)
        check_join(report, router, plain, loaded.tailnums[0])
        check_rankings(report, router, plain)
    check_transfers(report, router, loaded.tailnums, rng)
    check_guard(report, router, loaded.tailnums[0])
    with ExitStack() as stack:
        with report.waiting("starting the proxy"):
            proxy = stack.enter_context(running_proxy(fleet))
        check_proxy(report, router, proxy, loaded.tailnums)
        check_third_shard(report, fleet, proxy, loaded.tailnums, rng)


def show_fleet(report: Report, router: Router) -> None:
    """Print the nodes."""
    report.section("The fleet: real Postgres servers on this machine")
    topology = router.topology
    nodes = [
        (node.id, shard.id, node.role.value, node.dsn)
        for shard in topology.shards
        for node in shard.nodes
    ]
    report.table(("node", "shard", "role", "address"), nodes)
    report.say(f"{topology.slots} slots, epoch {topology.epoch}")
