"""A TCP relay that cuts the connection of a mover between a request and its reply."""

import socket
import threading
from contextlib import suppress
from typing import Final

from tests.support.cutting_relay import BYTES, CuttingRelay

_NEVER: Final = b"\0never\0"


class ArmedRelay(CuttingRelay):
    """Relays everything until it is armed; then it cuts one connection, once.

    The connection is cut at ``word``, said after ``after`` on the same connection: at the COMMIT
    of the transaction that has made a replication slot, say.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port, _NEVER, delivered=True, stays_down=False)
        self._after = _NEVER
        self.has_cut = True  # nothing to cut before it is armed

    def arm(self, word: bytes, *, after: bytes = b"", delivered: bool) -> None:
        """delivered: the server does what it is told and only the answer is lost."""
        self._word, self._after, self._delivered = word, after, delivered
        self.has_cut = False

    def _upstream(
        self, client: socket.socket, server: socket.socket, doomed: threading.Event
    ) -> None:
        is_near = False
        with suppress(OSError):
            while data := client.recv(BYTES):
                if not self.has_cut:
                    is_near = is_near or self._after in data
                    if is_near and self._word in data:
                        self.has_cut = True
                        doomed.set()
                        if not self._delivered:
                            break
                server.sendall(data)
        for connection in (client, server):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
