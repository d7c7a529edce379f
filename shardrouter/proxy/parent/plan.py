"""What the parent process is started with."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shardrouter.config import Settings, load_settings
from shardrouter.proxy.topology_file import read_topology_file
from shardrouter.topology import Topology

WORKER_COMMAND: Final = (sys.executable, "-P", "-m", "shardrouter.proxy.worker")


@dataclass(frozen=True, slots=True)
class ParentPlan:
    """Settings, where they come from, and how workers are started."""

    settings: Settings
    settings_path: Path | None
    """The file that was named; None: the usual one, and the environment may do without it."""

    overrides: Mapping[str, Mapping[str, Any]]
    """What the command line says; it stays when the file is read again."""

    workers: int
    topology: Topology | None
    """Of ``proxy.topology_file``; None: each worker asks the catalog."""

    worker_command: tuple[str, ...] = WORKER_COMMAND


def plan_of(
    path: Path | None,
    overrides: Mapping[str, Mapping[str, Any]],
    worker_command: tuple[str, ...] = WORKER_COMMAND,
) -> ParentPlan:
    """Read everything the parent needs to know. Raises SettingsError."""
    settings = read_settings(path, overrides)
    file = settings.proxy.topology_file
    topology = None if file is None else read_topology_file(file)
    return ParentPlan(settings, path, overrides, worker_count(settings), topology, worker_command)


def worker_count(settings: Settings) -> int:
    """Return how many workers run: as set, else one for each processor this process may use."""
    return settings.proxy.workers or len(os.sched_getaffinity(0))


def read_settings(path: Path | None, overrides: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Return the settings in force. Raises SettingsError."""
    return load_settings(path, or_topology_file=True, **overrides)
