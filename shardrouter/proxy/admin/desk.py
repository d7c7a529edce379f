"""The admin clients of one worker: lets them in, cancels their commands, says goodbye to them."""

import asyncio
import secrets
from dataclasses import replace
from typing import Final

from shardrouter.errors import LoginRefused
from shardrouter.proxy.admin import AdminContext
from shardrouter.proxy.admin.connection import AdminConnection
from shardrouter.proxy.channel import MessageChannel
from shardrouter.wire import messages

ADMIN_DATABASE: Final = "shardrouter"
MOST_ADMINS: Final = 100  # of one worker; they are not counted by proxy.max_clients
LONG_KEY_BYTES: Final = 32  # as the relay's keys: what protocol 3.2 and 3.0 have room for
SHORT_KEY_BYTES: Final = 4
GOODBYE_SECONDS: Final = 1.0  # for answers that are on their way, as that of DRAIN


class AdminDesk:
    """Knows every admin client of this worker. Belongs to the worker's event loop."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._clients: dict[AdminConnection, tuple[int, bytes]] = {}
        self._all_gone = asyncio.Event()

    def admit(self, channel: MessageChannel, user: str, version: int) -> None:
        """Take over the connection of a client whose identity is proven. Raises LoginRefused."""
        context = replace(self._context, user=user)
        if not context.is_admin:
            raise LoginRefused(
                f'user "{user}" is no admin user',
                sqlstate="42501",
                reason="rule",
                hint="add it to proxy.admin_users",
            )
        if len(self._clients) >= MOST_ADMINS:
            raise LoginRefused("sorry, too many admins already", sqlstate="53300", reason="limit")
        is_long = version >= messages.PROTOCOL_3_2
        pid = secrets.randbits(31)
        key = secrets.token_bytes(LONG_KEY_BYTES if is_long else SHORT_KEY_BYTES)
        connection = AdminConnection(context, self._forget)
        self._clients[connection] = (pid, key)
        leftover = channel.detach()
        channel.transport.write(messages.AUTHENTICATION_OK)
        connection.take_over(channel.transport, leftover, pid=pid, key=key)

    def cancel(self, pid: int, key: bytes) -> bool:
        """Carry out a cancel request, if it is for an admin client of this worker."""
        for connection, (known_pid, known_key) in self._clients.items():
            if known_pid == pid and secrets.compare_digest(known_key, key):
                connection.cancel()
                return True
        return False

    async def end_all(self, sqlstate: str, reason: str) -> None:
        """Tell all of them why they are closed. Commands that run may end, for a moment."""
        for connection in list(self._clients):
            connection.end_soon(sqlstate, reason)
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                while self._clients:
                    self._all_gone.clear()
                    await self._all_gone.wait()
        except TimeoutError:
            for connection in list(self._clients):
                connection.end(sqlstate, reason)

    def _forget(self, connection: AdminConnection) -> None:
        self._clients.pop(connection, None)
        if not self._clients:
            self._all_gone.set()
