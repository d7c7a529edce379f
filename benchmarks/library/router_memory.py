"""What a Router takes while nobody uses it: memory and processor time, with 64 shards and with 2.

Each figure comes from a process of its own (``router_probe``). The 64 shards have two nodes each;
all of them live on the four servers of one small fleet, which the router cannot tell.

Hypothesis: a monitored node costs a connection, a task and a sample four times a second; memory
grows with the nodes and by the 4096 slots of the table once.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.library.router_probe import Probe
from benchmarks.library.stage import Stage, open_stage, publish
from benchmarks.machine import ROOT
from benchmarks.measure import check
from benchmarks.rows import Row
from benchmarks.suite import Effort
from shardrouter.topology import Epoch, Node, NodeId, Shard, ShardId, Topology, plan_owners

SHARDS: Final = 64
ROUNDS: Final = 7
MEGABYTES: Final = 1e-6
MILLISECONDS: Final = 1e3
PROBE_TIMEOUT_SECONDS: Final = 120


def run(effort: Effort) -> list[Row]:
    """Probe routers of both sizes in turn."""
    rounds = effort.rounds(ROUNDS)
    with open_stage(shards=2, replicas=1, has_own_cpu=False) as stage:
        large = stage.settings_path.with_name("large.toml")
        publish(stage.fleet, _large(stage), large, catalog="large")
        sizes = {2: stage.settings_path, SHARDS: large}
        probes: dict[int, list[Probe]] = {size: [] for size in sizes}
        for number in range(rounds):
            for size, path in sizes.items():
                probes[size].append(_probe(path, size))
            effort.progress.step(number + 1, rounds)
        traced = [_probe(large, SHARDS, "--trace").traced_bytes for _ in range(2)]
    return _rows(probes, traced)


def _rows(probes: Mapping[int, Sequence[Probe]], traced: Sequence[int]) -> list[Row]:
    rows = []
    for size, found in sorted(probes.items(), reverse=True):
        name = f"Router, {size} shards x 2 nodes"
        opened = [probe.opened_bytes * MEGABYTES for probe in found]
        used = [probe.used_bytes * MEGABYTES for probe in found]
        idle = [probe.idle_cpu_share * MILLISECONDS for probe in found]
        start = [probe.open_seconds for probe in found]
        rows += [
            Row.of(f"{name}: memory beyond imports", "MB", opened),
            Row.of(f"{name}: with a session's connection to each primary", "MB", used),
            Row.of(f"{name}: processor time while idle", "ms/s", idle),
            Row.of(f"{name}: time to open", "s", start),
        ]
    objects = [size * MEGABYTES for size in traced]
    return [*rows, Row.of(f"Router, {SHARDS} shards x 2 nodes: Python objects", "MB", objects)]


def _large(stage: Stage) -> Topology:
    """Return a topology of 64 shards whose nodes are the fleet's, under other names."""
    real = stage.topology.shards
    shards = tuple(
        Shard(
            ShardId(f"s{i}"),
            tuple(replace(node, id=NodeId(f"n{i}-{j}")) for j, node in enumerate(_nodes(real, i))),
        )
        for i in range(SHARDS)
    )
    weights = {shard.id: shard.weight for shard in shards}
    return Topology(Epoch(1), shards, plan_owners(None, weights, stage.topology.slots))


def _nodes(real: Sequence[Shard], number: int) -> tuple[Node, ...]:
    return real[number % len(real)].nodes


def _probe(settings: Path, shards: int, *options: str) -> Probe:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.library.router_probe", str(settings), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PROBE_TIMEOUT_SECONDS,
        check=False,
    )
    check(done.returncode == 0, f"the probe failed: {done.stderr.strip()[-500:]}")
    probe = Probe(**json.loads(done.stdout))
    check(probe.shards == shards, f"the router has {probe.shards} shards instead of {shards}")
    check(probe.nodes_up == shards * 2, f"{probe.nodes_up} of {shards * 2} nodes are up")
    return probe
