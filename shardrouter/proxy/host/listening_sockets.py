"""Open the sockets clients connect to, and share them out among the workers.

The parent keeps them open whatever happens to a worker: clients that connected meanwhile wait in
the accept queue for the worker that takes over. TCP has one socket for each worker (SO_REUSEPORT
spreads new connections); the Unix socket is one for all.
"""

import errno
import logging
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from shardrouter.config import ProxySettings, parse_address
from shardrouter.errors import SettingsError
from shardrouter.proxy.host.unix_socket import UnixListener, open_unix_listener, unix_socket_path

logger = logging.getLogger(__name__)

BACKLOG: Final = 4096  # the kernel takes net.core.somaxconn if that is less
_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

Endpoint = tuple[int, tuple[Any, ...]]
"""Address family, and what ``bind`` takes."""


@dataclass(slots=True)
class Listeners:
    """The open listening sockets."""

    tcp: list[list[socket.socket]] = field(default_factory=list)
    """For each address its sockets: one a worker, or more after a takeover."""

    unix: UnixListener | None = None

    def of_worker(self, index: int, workers: int) -> list[socket.socket]:
        """Return what a worker accepts from. No socket is left to nobody."""
        mine = [sock for group in self.tcp for sock in group[index::workers]]
        return mine if self.unix is None else [*mine, self.unix.sock]

    @property
    def port(self) -> int | None:
        """The TCP port, or None where there is no TCP."""
        return int(self.tcp[0][0].getsockname()[1]) if self.tcp else None

    def addresses(self) -> list[str]:
        """Return where clients may connect, for people."""
        names = [_name(group[0].getsockname()) for group in self.tcp]
        return names if self.unix is None else [*names, str(self.unix.path)]

    def close(self, *, is_handed_over: bool) -> None:
        """Stop listening. What a successor has stays as it is."""
        for sock in (sock for group in self.tcp for sock in group):
            sock.close()
        self.tcp = []
        if self.unix is not None:
            self.unix.close(is_handed_over=is_handed_over)
            self.unix = None


def open_listeners(
    proxy: ProxySettings,
    workers: int,
    handed_tcp: Sequence[socket.socket] = (),
    handed_unix: UnixListener | None = None,
) -> Listeners:
    """Open what the settings name; sockets of a predecessor are used where they fit.

    Raises SettingsError when an address is taken, or is none of this machine's.
    """
    listeners = Listeners()
    try:
        if proxy.listen:
            listeners.tcp = _open_tcp(proxy.listen, workers, list(handed_tcp))
        if proxy.unix_socket_directory is not None:
            path = unix_socket_path(proxy.unix_socket_directory, listeners.port)
            fits = handed_unix is not None and handed_unix.path == path
            listeners.unix = handed_unix if fits else open_unix_listener(path, BACKLOG)
    except BaseException:
        listeners.close(is_handed_over=bool(handed_tcp) or handed_unix is not None)
        raise
    _close_strangers(listeners, handed_tcp, handed_unix)
    return listeners


def _close_strangers(
    listeners: Listeners, handed_tcp: Sequence[socket.socket], handed_unix: UnixListener | None
) -> None:
    """Drop what the settings no longer name: it ends with the predecessor."""
    used = {sock for group in listeners.tcp for sock in group}
    for sock in handed_tcp:
        if sock not in used:
            sock.close()
    if handed_unix is not None and handed_unix is not listeners.unix:
        handed_unix.close(is_handed_over=True)


def _open_tcp(listen: str, workers: int, handed: list[socket.socket]) -> list[list[socket.socket]]:
    where = f"proxy.listen = {listen}"
    groups: list[list[socket.socket]] = []
    port = parse_address(listen, "proxy.listen").port
    endpoints = _resolve(listen)
    problem: OSError | None = None
    for family, address in endpoints:
        try:
            with_port = (address[0], port, *address[2:])
            group = _open_group((family, with_port), workers, handed, alone=len(endpoints) == 1)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise _cannot_listen(where, error) from error
            problem = error  # as ::1 of localhost where there is no IPv6: the others serve
            continue
        groups.append(group)
        port = group[0].getsockname()[1]
    if not groups:
        assert problem is not None
        raise _cannot_listen(where, problem) from problem
    if problem is not None:
        logger.warning("listen_skipped where=%s reason=%s", where, problem)
    return groups


def _resolve(listen: str) -> list[Endpoint]:
    host, port = parse_address(listen, "proxy.listen")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise SettingsError(
            f"proxy.listen = {listen}: {error.strerror}",
            hint="name an address of this machine; 0.0.0.0 and [::] mean every interface",
        ) from error
    return list(dict.fromkeys((int(family), address) for family, _, _, _, address in found))


def _open_group(
    endpoint: Endpoint, workers: int, handed: list[socket.socket], alone: bool
) -> list[socket.socket]:
    group = [sock for sock in handed if _fits(sock, endpoint)]
    if not group:
        # SO_REUSEPORT would silently share the port with another process of this user.
        _bound(endpoint, socket.SO_REUSEADDR, alone).close()
    while len(group) < workers:
        if group:
            endpoint = (endpoint[0], group[0].getsockname())  # port 0 is one port for all
        sock = _bound(endpoint, socket.SO_REUSEPORT, alone)
        sock.listen(BACKLOG)
        group.append(sock)
    return group


def _bound(endpoint: Endpoint, reuse: int, alone: bool) -> socket.socket:
    family, address = endpoint
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, reuse, 1)
        if family == socket.AF_INET6:
            # [::] alone takes IPv4 as well; beside 0.0.0.0 it would want the same port twice.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not alone)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _fits(sock: socket.socket, endpoint: Endpoint) -> bool:
    family, address = endpoint
    host, port = sock.getsockname()[:2]
    return sock.family == family and host == address[0] and address[1] in (0, port)


def _name(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _cannot_listen(where: str, error: OSError) -> SettingsError:
    match error.errno:
        case errno.EADDRINUSE:
            return SettingsError(
                f"{where}: another process listens there",
                hint="stop it or choose another port; a running proxy is taken over only by one"
                " with the same proxy.run_directory",
            )
        case errno.EACCES:
            hint = "ports below 1024 need the right to bind them; choose a higher one"
        case _:
            hint = "name an address of this machine; 0.0.0.0 and [::] mean every interface"
    with suppress(TypeError, ValueError):
        return SettingsError(f"{where}: {os.strerror(error.errno or 0)}", hint=hint)
    return SettingsError(f"{where}: {error}", hint=hint)
