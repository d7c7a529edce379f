"""Choose free TCP ports on 127.0.0.1.

From a range below the one the kernel gives to outgoing connections (32768 and up on Linux): the
ports of a stopped fleet are then likely still free when it is started again.
"""

import random
import socket
from collections.abc import Sequence
from typing import Final

from shardrouter.errors import FleetError

HOST: Final = "127.0.0.1"
PORTS: Final = range(20000, 32000)
_ATTEMPTS: Final = 1000


def free_ports(count: int, rng: random.Random) -> Sequence[int]:
    """Return that many different ports nobody listens on now.

    Race: another process may take one before the server does; the start then retries.
    """
    taken: list[int] = []
    for _ in range(_ATTEMPTS):
        if len(taken) == count:
            return taken
        port = rng.choice(PORTS)
        if port not in taken and _is_free(port):
            taken.append(port)
    raise FleetError(
        f"no {count} free ports between {PORTS.start} and {PORTS.stop}",
        hint="stop something: `ss -ltn` shows who listens",
    )


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Postgres does
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
