"""What a running proxy tells of itself: rows of the admin database, counters of /metrics."""

import random
import urllib.request
from typing import Any

from shardrouter.local.ports import free_ports
from tests.support.proxy import ProxyProcess


def free_http_port() -> int:
    """Return a port for ``proxy.http_listen``."""
    return free_ports(1, random.SystemRandom())[0]


def rows(proxy: ProxyProcess, command: str) -> list[dict[str, Any]]:
    """Return what a SHOW command tells."""
    with proxy.admin() as admin:
        found = admin.execute(command)
        names = [column.name for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def counters(port: int) -> dict[str, float]:
    """Return every counter of /metrics by its name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if line and not line.startswith("#")]
    return {name: float(value) for name, value in pairs if name.split("{")[0].endswith("_total")}


def total(found: dict[str, float], name: str) -> float:
    """Return the sum of a counter over its labels."""
    return sum(value for key, value in found.items() if key.split("{")[0].endswith(name))
