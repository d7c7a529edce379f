"""Hand the listening sockets of a running proxy to its successor, so that no connection is lost.

The successor connects to the control socket, gets the descriptors, starts its workers, and says
when they serve: only then does the old process drain. Until then both accept; if the successor
fails, the old one just goes on. Both need the same user and run directory.
"""

import asyncio
import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shardrouter.control.tasks import spawn
from shardrouter.errors import SettingsError
from shardrouter.proxy.host.listening_sockets import Listeners
from shardrouter.proxy.host.unix_socket import UnixListener

logger = logging.getLogger(__name__)

FORMAT: Final = 1  # of the talk; both sides refuse another
FDS_A_MESSAGE: Final = 200  # the kernel takes 253 (SCM_MAX_FD)
MAX_LINE_BYTES: Final = 1 << 20
ANSWER_SECONDS: Final = 10.0
START_SECONDS: Final = 120.0  # for the successor's workers; then it is given up
REQUEST: Final = "take over"
READY: Final = "ready"

Gift = tuple[dict[str, Any], int]
"""What a descriptor is, and the descriptor."""


def gifts_of(listeners: Listeners, run_lock: int) -> list[Gift]:
    """Return everything a successor needs."""
    gifts: list[Gift] = [({"kind": "run_lock"}, run_lock)]
    gifts += [({"kind": "tcp"}, sock.fileno()) for group in listeners.tcp for sock in group]
    if (unix := listeners.unix) is not None:
        gifts.append(({"kind": "unix", "path": str(unix.path)}, unix.sock.fileno()))
        gifts.append(({"kind": "unix_lock"}, unix.lock))
    return gifts


class TakeoverDoor:
    """The old side: waits at the control socket for a successor."""

    def __init__(
        self,
        path: Path,
        gifts: Callable[[], Sequence[Gift]],
        leave: Callable[[], Awaitable[None]],
    ) -> None:
        self._path = path
        self._gifts = gifts
        self._leave = leave
        self._sock: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self._is_busy = False

    @property
    def is_busy(self) -> bool:
        """True while somebody has our sockets and does not serve yet."""
        return self._is_busy

    def open(self) -> None:
        """Listen at the path, in place of whoever did before."""
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            new.unlink(missing_ok=True)
            sock.bind(str(new))
            new.chmod(0o600)
            sock.listen(4)
            new.rename(self._path)
        except OSError as error:
            sock.close()
            raise SettingsError(
                f"cannot listen at {self._path}: {error.strerror or error}",
                hint="set proxy.run_directory to a directory of this user with a shorter path",
            ) from error
        self._sock = sock
        self._accepting = spawn(self._accept(sock), name="takeover door")

    def close(self, *, is_handed_over: bool) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
        if self._sock is not None:
            if not is_handed_over:
                self._path.unlink(missing_ok=True)
            self._sock.close()
            self._sock = None

    async def _accept(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                caller, _ = await loop.sock_accept(sock)
            except OSError as error:
                logger.error("takeover_accept_failed reason=%s", error)
                await asyncio.sleep(1)
                continue
            talk = spawn(self._talk(caller), name="takeover")
            self._talks.add(talk)
            talk.add_done_callback(self._talks.discard)

    async def _talk(self, caller: socket.socket) -> None:
        with caller:
            if not _is_friend(caller) or self._is_busy:
                return
            self._is_busy = True
            try:
                await self._hand_over(caller)
            except (OSError, ValueError, TimeoutError) as error:
                logger.error("takeover_failed reason=%s", error)
            finally:
                self._is_busy = False

    async def _hand_over(self, caller: socket.socket) -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            request = await _read_line(caller)
        if request != {"request": REQUEST, "format": FORMAT}:
            raise ValueError(f"a request this version does not know: {request}")
        logger.info("takeover_asked pid=%d", _peer_pid(caller))
        gifts = self._gifts()
        async with asyncio.timeout(ANSWER_SECONDS):
            await asyncio.get_running_loop().sock_sendall(
                caller, _line({"format": FORMAT, "gifts": [what for what, _ in gifts]})
            )
            for at in range(0, len(gifts), FDS_A_MESSAGE):
                fds = [fd for _, fd in gifts[at : at + FDS_A_MESSAGE]]
                socket.send_fds(caller, [b"."], fds)
        async with asyncio.timeout(START_SECONDS):
            said = await _read_line(caller)
        if said != {"request": READY}:
            raise ValueError("the successor did not say that it serves")
        logger.info("takeover_done pid=%d", _peer_pid(caller))
        await self._leave()
        with suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(caller, _line({"format": FORMAT}))


@dataclass(slots=True)
class Inheritance:
    """The new side: what the old process handed over, and the talk with it."""

    run_lock: int
    tcp: list[socket.socket]
    unix: UnixListener | None
    _talk: socket.socket

    def say_ready(self) -> None:
        """Tell the old process to drain, and return when it has let go. Blocks."""
        with self._talk:
            self._talk.sendall(_line({"request": READY}))
            with suppress(OSError, ValueError):  # it may die of it: then it has let go too
                _receive_line(self._talk)


def ask_for_inheritance(path: Path) -> Inheritance | None:
    """Ask the process at the control socket for its sockets; None when nobody answers. Blocks.

    Raises SettingsError when somebody answers, and refuses.
    """
    talk = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    talk.settimeout(ANSWER_SECONDS)
    try:
        talk.connect(str(path))
    except OSError:
        talk.close()
        return None
    try:
        talk.sendall(_line({"request": REQUEST, "format": FORMAT}))
        gifts = _receive_line(talk)["gifts"]
        return _unpacked(talk, gifts, _receive_fds(talk, len(gifts)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        talk.close()
        raise SettingsError(
            f"the proxy that runs does not hand over its sockets: {error!r}",
            hint="another takeover may be under way; else stop it with SIGTERM, then start this"
            " one",
        ) from error


def _unpacked(
    talk: socket.socket, gifts: Sequence[dict[str, Any]], fds: Sequence[int]
) -> Inheritance:
    by_kind: dict[str, list[int]] = {}
    for what, fd in zip(gifts, fds, strict=True):
        by_kind.setdefault(str(what["kind"]), []).append(fd)
    unix = None
    if "unix" in by_kind:
        path = next(Path(what["path"]) for what in gifts if what["kind"] == "unix")
        unix = UnixListener(path, socket.socket(fileno=by_kind["unix"][0]), by_kind["unix_lock"][0])
    tcp = [socket.socket(fileno=fd) for fd in by_kind.get("tcp", ())]
    for sock in tcp if unix is None else [*tcp, unix.sock]:
        sock.setblocking(False)
    return Inheritance(by_kind["run_lock"][0], tcp, unix, talk)


def _receive_fds(talk: socket.socket, count: int) -> list[int]:
    fds: list[int] = []
    while len(fds) < count:
        data, received, flags, _ = socket.recv_fds(talk, 1, FDS_A_MESSAGE)
        fds += received
        if not data or not received or flags & socket.MSG_CTRUNC:
            for fd in fds:
                os.close(fd)
            raise ValueError("descriptors are missing; is the limit of open files high enough?")
    for fd in fds:
        os.set_inheritable(fd, False)
    return fds


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _receive_line(talk: socket.socket) -> Any:
    """Read one line, and not a byte of what follows: descriptors come with that."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = talk.recv(1)
        if not byte or len(line) > MAX_LINE_BYTES:
            raise ValueError("the other side closed the connection")
        line += byte
    return json.loads(line)


async def _read_line(talk: socket.socket) -> Any:
    loop = asyncio.get_running_loop()
    line = bytearray()
    while not line.endswith(b"\n"):
        data = await loop.sock_recv(talk, 4096)
        if not data or len(line) > MAX_LINE_BYTES:
            raise ValueError("the other side closed the connection")
        line += data
    return json.loads(line)


def _peer_credentials(sock: socket.socket) -> tuple[int, int, int]:
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", raw)
    return pid, uid, gid


def _peer_pid(sock: socket.socket) -> int:
    return _peer_credentials(sock)[0]


def _is_friend(sock: socket.socket) -> bool:
    pid, uid, _ = _peer_credentials(sock)
    if uid in (os.geteuid(), 0):
        return True
    logger.error("takeover_refused pid=%d uid=%d", pid, uid)
    return False
