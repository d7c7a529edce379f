"""What a worker process is started with."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardrouter.config import Settings
from shardrouter.proxy.control_link import ControlLink
from shardrouter.topology import Topology


@dataclass(frozen=True, slots=True)
class WorkerStart:
    """Everything a worker needs from the parent. The worker closes the listeners when it drains."""

    index: int
    """Number of the worker, from 0; a worker that replaces a dead one has its number."""

    workers: int
    """How many there are."""

    settings: Settings
    settings_path: Path
    topology: Topology | None
    """The topology where ``proxy.topology_file`` is set; None: the catalog has it."""

    listeners: tuple[socket.socket, ...]
    """Listening sockets, TCP (of this worker alone) and Unix (shared by all workers)."""

    link: ControlLink
    mock_secret: bytes
    """Decides the salts of users that do not exist; all workers have the same."""

    def announce_ready(self) -> None:
        """Say that clients are accepted and can be served. Until then nothing is asked."""
        self.link.tell("ready")


def settings_from_data(data: Mapping[str, Any]) -> Settings:
    """Return settings as they came over the link: at the start, and with ``reload``."""
    return Settings.model_validate(dict(data))


def settings_to_data(settings: Settings) -> dict[str, Any]:
    """Return settings, secrets included, as they travel over the link."""
    return settings.model_dump(mode="json")


def topology_from_text(text: str | None) -> Topology | None:
    """Return a topology as it came over the link."""
    return None if text is None else Topology.from_json(text)
