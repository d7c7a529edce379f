"""A TCP relay that cuts one connection at a chosen word, before or after the server has it."""

import socket
import threading
from contextlib import suppress
from typing import Final

BYTES: Final = 65536


class CuttingRelay:
    """Relays to 127.0.0.1:``port`` from ``self.port``, until a client says ``word``.

    ``delivered``: the server does what it says and answers; only the answer is lost. Afterwards
    new connections are served, or refused when ``stays_down``.
    """

    def __init__(self, port: int, word: bytes, *, delivered: bool, stays_down: bool) -> None:
        self._target = port
        self._word = word
        self._delivered = delivered
        self._stays_down = stays_down
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.has_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # Closing alone would leave the thread in accept().
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                doomed = threading.Event()
                for work in (self._upstream, self._downstream):
                    threading.Thread(
                        target=work, args=(client, server, doomed), daemon=True
                    ).start()

    def _upstream(
        self, client: socket.socket, server: socket.socket, doomed: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := client.recv(BYTES):
                if self._word in data and not self.has_cut:
                    self.has_cut = True
                    doomed.set()
                    if self._stays_down:
                        self.close()
                    if not self._delivered:
                        break
                server.sendall(data)
        _hang_up(client, server)

    def _downstream(
        self, client: socket.socket, server: socket.socket, doomed: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := server.recv(BYTES):
                if doomed.is_set():
                    break  # the server has answered, so it has done it
                client.sendall(data)
        _hang_up(client, server)


def _hang_up(*connections: socket.socket) -> None:
    for connection in connections:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
