"""Peers that vanish are noticed: how sockets towards nodes probe."""

import socket
from contextlib import closing

import pytest

from shardrouter.proxy.backend.address import read_address
from shardrouter.proxy.backend.connect import _tune


def probes(dsn: str) -> tuple[int, int, int, int]:
    with closing(socket.socket()) as sock:
        _tune(sock, read_address(dsn))
        is_on = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        idle, interval, count = (sock.getsockopt(socket.IPPROTO_TCP, each) for each in options)
        return is_on, idle, interval, count


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("host=127.0.0.1", (1, 60, 10, 3)),
        ("host=127.0.0.1 keepalives_idle=5 keepalives_count=7", (1, 5, 10, 7)),
    ],
)
def test_probes_of_a_backend(dsn: str, expected: tuple[int, int, int, int]) -> None:
    assert probes(dsn) == expected


def test_probes_can_be_switched_off() -> None:
    assert probes("host=127.0.0.1 keepalives=0")[0] == 0
