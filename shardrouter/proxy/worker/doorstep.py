"""Take clients from the listening sockets to a proven identity, under one deadline.

Each client is one task until the session takes over. What a client sends before TLS is read from
the raw socket, never beyond the request, so that nothing said in clear text can be taken for
something said inside TLS.
"""

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from shardrouter.control.tasks import spawn
from shardrouter.errors import (
    ClientProtocolError,
    ConnectionLost,
    LoginRefused,
    ShardRouterError,
)
from shardrouter.proxy.channel import MessageChannel, Peer
from shardrouter.proxy.login import Identity, LoginDoor, authenticate
from shardrouter.proxy.login.entrance import enter
from shardrouter.wire import MOST_STARTUP_BYTES, CancelRequest, StartupMessage, read_first_packet

logger = logging.getLogger(__name__)

ACCEPTS_AT_ONCE: Final = 64  # then the loop's other work has its turn
PAUSE_SECONDS: Final = 0.1  # after EMFILE and the like; somebody's close will make room
LONGEST_LOGGED: Final = 200  # characters of a name that a client chose

_THEIRS: Final = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.ECONNRESET, errno.EPERM})
"""Failures of accept that concern one client, which left or was turned away by the firewall."""

Welcome = Callable[[MessageChannel, StartupMessage, Identity], Awaitable[None]]
"""Takes a client over by ``detach``, and returns. What it raises before is told to the client."""
Cancel = Callable[[int, bytes], Awaitable[None]]


class Doorstep:
    """Accepts on the sockets between ``open`` and ``close``.

    ``door`` may be replaced at any time; logins that have begun keep theirs. ``has_room`` says
    whether one more client may stay; cancel requests are heard even when it does not.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        door: LoginDoor,
        *,
        welcome: Welcome,
        cancel: Cancel,
        has_room: Callable[[], bool],
        login_timeout_seconds: float,
        most_logins: int,
    ) -> None:
        self.door = door
        self.login_timeout_seconds = login_timeout_seconds
        self.most_logins = most_logins
        self.failures: Counter[str] = Counter()
        """Logins that came to nothing, by reason: see LoginRefused."""
        self._sockets = tuple(sockets)
        self._welcome = welcome
        self._cancel = cancel
        self._has_room = has_room
        self._logins: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._is_open = False
        self._is_short_told = False

    @property
    def logging_in(self) -> int:
        """Clients that are not logged in yet."""
        return len(self._logins)

    def open(self) -> None:
        """Start to accept."""
        self._is_open = True
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            listening.setblocking(False)
            loop.add_reader(listening, self._accept, listening)

    def close(self) -> None:
        """Stop to accept; the sockets stay open, logins go on."""
        self._is_open = False
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._stop_reading()

    async def end_logins(self) -> None:
        """Close every connection that is not logged in yet."""
        logins = list(self._logins)
        for login in logins:
            login.cancel()
        await asyncio.gather(*logins, return_exceptions=True)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _THEIRS:
                    continue
                self._rest(error)
                return
            self._is_short_told = False
            connection.setblocking(False)
            if len(self._logins) >= self.most_logins:
                self.failures["limit"] += 1
                connection.close()
                continue
            peer = _peer_of(connection, address)
            task = spawn(self._receive(connection, peer), name="login")
            self._logins.add(task)
            task.add_done_callback(self._logins.discard)

    def _rest(self, error: OSError) -> None:
        """Stop accepting for a moment: the sockets would stay readable and take the whole core."""
        if not self._is_short_told:
            self._is_short_told = True  # once, until it is over
            logger.error("accept_failed reason=%s pause_seconds=%s", error.strerror, PAUSE_SECONDS)
        self._stop_reading()
        self._pause = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        self._pause = None
        if self._is_open:
            self.open()

    def _stop_reading(self) -> None:
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            loop.remove_reader(listening)

    async def _receive(self, connection: socket.socket, peer: Peer) -> None:
        login = _Login(peer)
        try:
            async with asyncio.timeout(self.login_timeout_seconds):
                await self._log_in(connection, login)
            if login.identity is not None:
                assert login.channel is not None
                assert login.startup is not None
                await self._welcome(login.channel, login.startup, login.identity)
        except ConnectionLost:
            return  # nothing to be told to anybody; programs also come to see whether we live
        except TimeoutError:
            self._end(login, "timeout", "57014", "canceling authentication due to timeout")
        except LoginRefused as error:
            self._end(login, error.reason, error.sqlstate, error.message, error.hint)
        except ShardRouterError as error:
            is_protocol = isinstance(error, ClientProtocolError)
            reason = "protocol" if is_protocol else None
            self._end(login, reason, error.sqlstate, error.message, error.hint)
        except OSError as error:  # ssl.SSLError too
            reason = "tls" if login.channel is None else None
            self._end(login, reason, "08006", str(error) or type(error).__name__)
        except Exception:
            logger.exception("login_failed client=%s", peer)
            self._end(login, None, "XX000", "internal error of the proxy")
        finally:
            login.close(connection)

    async def _log_in(self, connection: socket.socket, login: "_Login") -> None:
        door = self.door
        login.channel = channel = await enter(connection, login.peer, door.tls)
        login.peer = channel.peer
        first = read_first_packet(await channel.read_startup(MOST_STARTUP_BYTES))
        if isinstance(first, CancelRequest):
            await self._cancel(first.pid, first.key)
            return
        login.startup = first
        if not self._has_room():
            raise LoginRefused("sorry, too many clients already", sqlstate="53300", reason="limit")
        if first.negotiation is not None:
            channel.write(first.negotiation)
        login.identity = await authenticate(channel, first, door)

    def _end(
        self, login: "_Login", reason: str | None, sqlstate: str, text: str, hint: str | None = None
    ) -> None:
        """Tell the client and the log why it may not come in."""
        if reason is not None:
            self.failures[reason] += 1
        startup = login.startup
        logger.info(
            "login_refused client=%s user=%s database=%s sqlstate=%s reason=%s",
            login.peer,
            _shown(startup.user if startup is not None else ""),
            _shown(startup.database if startup is not None else ""),
            sqlstate,
            _shown(text),
        )
        # Who says nothing for so long is no client of Postgres: nothing is said to it either.
        if login.channel is not None and (startup is not None or reason != "timeout"):
            login.channel.refuse(sqlstate, text, hint)


class _Login:
    """How far one client has come."""

    __slots__ = ("channel", "identity", "peer", "startup")

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.channel: MessageChannel | None = None
        self.startup: StartupMessage | None = None
        self.identity: Identity | None = None

    def close(self, connection: socket.socket) -> None:
        if self.channel is None:
            connection.close()
        elif not self.channel.is_detached:
            self.channel.close()


def _peer_of(connection: socket.socket, address: Any) -> Peer:
    if connection.family == socket.AF_UNIX:
        return Peer("", 0, is_unix=True)
    return Peer(address[0], address[1], is_unix=False)


def _shown(text: str) -> str:
    """Return what a client may have chosen so that it stays one short word of a log line."""
    return ascii(text[:LONGEST_LOGGED])
