"""What the suite stands on: shards with pgbench's tables, a router, a mover, and a proxy if asked.

Nothing has a CPU of its own: a mover works beside the servers and the clients it disturbs.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psycopg

from benchmarks.library.stage import publish
from benchmarks.measure import check
from benchmarks.proxy.doors import environment
from benchmarks.rebalance.carried import Carrier
from benchmarks.rebalance.tables import fill
from shardrouter import Router
from shardrouter.local import LocalFleet
from shardrouter.topology import Slot, Topology

SHARD: Final = "s0"
OTHER: Final = "s1"
COMMAND_SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class RebalanceStage:
    """A running fleet with its tables filled."""

    fleet: LocalFleet
    directory: Path
    settings: Path
    router: Router
    carrier: Carrier

    @property
    def topology(self) -> Topology:
        """Return the newest topology."""
        return self.carrier.catalog.load()

    def dsn(self, shard: str) -> str:
        """Return the address of a shard's primary."""
        return self.fleet.primary(shard).dsn()

    def execute(self, shard: str, *statements: str, as_replica: bool = False) -> None:
        """Run statements on a primary; ``as_replica``: triggers, guards among them, do not fire."""
        role = "replica" if as_replica else "origin"
        options = f"-c session_replication_role={role}"
        with psycopg.connect(self.dsn(shard), autocommit=True, options=options) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def command(self, *arguments: str) -> str:
        """Run the ``shardrouter`` command on this fleet; return what it prints."""
        program = Path(sys.executable).with_name("shardrouter")
        done = subprocess.run(
            [program, *arguments, "--config", str(self.settings)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        check(done.returncode == 0, f"shardrouter {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout


@contextmanager
def open_stage(
    accounts: int,
    *,
    shards: int = 2,
    replicas: int = 0,
    left_to_other: int | None = None,
    rebalance: str = "",
) -> Iterator[RebalanceStage]:
    """Start a fleet for the block and fill it.

    left_to_other: how many slots the second shard owns; the first has the rest. None: even parts.
    rebalance: lines of the settings' section of that name.
    """
    fleet = LocalFleet.temporary(shards=shards, replicas=replicas)
    try:
        with tempfile.TemporaryDirectory(prefix="shardrouter-bench-") as name:
            settings = Path(name) / "shardrouter.toml"
            publish(fleet, _spread(fleet, left_to_other), settings)
            text = f"[rebalance]\nsoak_seconds = 0.0\n{rebalance}\n"
            settings.write_text(settings.read_text() + text)
            with Router.from_config(settings) as router, Carrier(settings) as carrier:
                fill(router, accounts)
                yield RebalanceStage(fleet, Path(name), settings, router, carrier)
    finally:
        fleet.destroy()


def first_slots(topology: Topology, shard: str, count: int) -> tuple[Slot, ...]:
    """Return some slots that a shard owns."""
    return tuple(topology.slots_of(topology.shard(shard).id)[:count])


def _spread(fleet: LocalFleet, left_to_other: int | None) -> Topology:
    topology = fleet.topology()
    if left_to_other is None:
        return topology
    first = topology.shard(SHARD).id
    owners = (
        *[first] * (topology.slots - left_to_other),
        *[topology.shard(OTHER).id] * left_to_other,
    )
    return replace(topology, owners=owners)
