"""A proxy before a stage's fleet, on the settings file that its programs read."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import SystemRandom
from typing import Any, Final

from benchmarks.machine import ROOT
from benchmarks.proxy.doors import HOST, OURS, environment, started
from benchmarks.rebalance.stage import SHARD, RebalanceStage
from shardrouter.local.ports import free_ports

POOL_SIZE: Final = 8


@contextmanager
def proxy_dsn(stage: RebalanceStage) -> Iterator[str]:
    """Run a proxy of one worker for the block; return how clients reach it."""
    port = free_ports(1, SystemRandom())[0]
    settings = stage.directory / "proxy.toml"
    settings.write_text(
        f"{stage.settings.read_text()}\n"
        f'[proxy]\nlisten = "{HOST}:{port}"\nhttp_listen = ""\nworkers = 1\n'
        f'run_directory = "{stage.directory / "run"}"\n[proxy_pool]\nsize = {POOL_SIZE}\n'
    )
    command = [sys.executable, "-m", "shardrouter.proxy", "--config", str(settings)]
    log, options = stage.directory / "proxy.log", f"-c shardrouter.shard={SHARD}"
    how: dict[str, Any] = {"env": environment(), "cwd": ROOT}
    with started(OURS, command, port, log, options=options, **how) as door:
        yield replace(door, options="").dsn  # clients name the key of each transaction
