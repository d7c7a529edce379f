"""A deadline for what is asked over an ordinary connection.

A frozen server never answers, and its kernel keeps the TCP connection alive: only the client can
give up. Hanging up makes the pending call fail as for any lost connection.
"""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection


@contextmanager
def answers_within(connection: Connection, seconds: float) -> Iterator[Connection]:
    """Hang up when the block takes longer. Its statement then fails with OperationalError."""
    driver = connection.connection.driver_connection
    assert driver is not None  # the connection is open
    # A descriptor of our own: the connection's number may be reused once it is closed.
    copy = socket.socket(fileno=os.dup(driver.fileno()))
    timer = threading.Timer(seconds, _hang_up, [copy])
    timer.daemon = True
    timer.start()
    try:
        yield connection
    finally:
        timer.cancel()
        timer.join()
        copy.close()


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # already gone
