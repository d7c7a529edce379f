"""A doorstep on real sockets, with a session behind it that only says it is ready."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import trustme

from shardrouter.config import ProxyAuthSettings
from shardrouter.proxy.channel import MessageChannel
from shardrouter.proxy.login import Identity, LoginDoor, Throttle, read_rules
from shardrouter.proxy.login.users_file import UserEntry
from shardrouter.proxy.worker.doorstep import Doorstep
from shardrouter.wire import messages
from shardrouter.wire.scram_secrets import derive_keys, verifier_of, verifier_text
from shardrouter.wire.startup import StartupMessage

PASSWORD = "pencil"
KEYS = derive_keys(PASSWORD, b"0123456789abcdef", 4096)
VERIFIER = verifier_text(verifier_of(KEYS))
RULES = (
    "local all all trust",
    "hostssl certs all all cert",
    "host open all all trust",
    "host all all all scram-sha-256",
)


def make_door(**facts: Any) -> LoginDoor:
    users = {"ann": UserEntry(verifier_of(KEYS))}
    facts = {"users": users, "throttle": Throttle(1000), "mock_secret": b"m" * 32} | facts
    return LoginDoor(read_rules(RULES), **facts)


class DoorstepBed:
    """What arrived: sessions and cancel requests."""

    def __init__(self, door: LoginDoor, **settings: Any) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self.socket.getsockname()[1]
        self.has_room = True
        self.sessions: list[tuple[StartupMessage, Identity, bytes]] = []
        self.cancels: list[tuple[int, bytes]] = []
        self.cancel_takes = 0.0
        self.welcome_fails: Exception | None = None
        self.transports: list[asyncio.Transport] = []
        settings = {"login_timeout_seconds": 5, "most_logins": 1000, "sockets": []} | settings
        sockets = [self.socket, *settings.pop("sockets")]
        self.doorstep = Doorstep(
            sockets,
            door,
            welcome=self._welcome,
            cancel=self._cancel,
            has_room=lambda: self.has_room,
            **settings,
        )

    async def _welcome(
        self, channel: MessageChannel, startup: StartupMessage, identity: Identity
    ) -> None:
        if self.welcome_fails is not None:
            raise self.welcome_fails
        channel.write(
            messages.AUTHENTICATION_OK
            + messages.parameter_status("client_encoding", "UTF8")
            + messages.parameter_status("server_version", "15.0")
            + messages.backend_key_data(1, b"1234")
            + messages.ready()
        )
        self.transports.append(channel.transport)
        channel.transport.set_protocol(asyncio.Protocol())
        self.sessions.append((startup, identity, channel.detach()))

    async def _cancel(self, pid: int, key: bytes) -> None:
        await asyncio.sleep(self.cancel_takes)
        self.cancels.append((pid, key))

    async def connect(self, user: str = "ann", **options: Any) -> str:
        """Log in with libpq; return ``ok`` or what it says."""
        given = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": user,
            "password": PASSWORD,
            "dbname": "app",
            "connect_timeout": 10,
        }

        def attempt() -> str:
            try:
                psycopg.connect(**(given | options)).close()
            except psycopg.OperationalError as error:
                return str(error)
            return "ok"

        return await asyncio.to_thread(attempt)

    async def raw(self) -> "RawClient":
        return RawClient(*await asyncio.open_connection("127.0.0.1", self.port))


class RawClient:
    """Bytes to the doorstep, and what comes back until it closes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def message(self) -> tuple[bytes, bytes]:
        async with asyncio.timeout(5):
            head = await self.reader.readexactly(5)
            return head[:1], await self.reader.readexactly(int.from_bytes(head[1:]) - 4)

    async def rest(self) -> bytes:
        """Return everything until the connection is closed, by FIN or by reset."""
        found = b""
        try:
            async with asyncio.timeout(5):
                while more := await self.reader.read(65536):
                    found += more
        except ConnectionError:
            pass
        finally:
            self.writer.transport.abort()
        return found

    async def refusal(self) -> dict[str, str]:
        """Return the fields of the only message that comes before the end."""
        raw = await self.rest()
        assert raw[:1] == b"E", raw
        assert int.from_bytes(raw[1:5]) == len(raw) - 1
        return messages.read_error_fields(raw[5:])


@asynccontextmanager
async def doorstep(door: LoginDoor | None = None, **settings: Any) -> AsyncIterator[DoorstepBed]:
    bed = DoorstepBed(door or make_door(), **settings)
    bed.doorstep.open()
    try:
        yield bed
    finally:
        bed.doorstep.close()
        await bed.doorstep.end_logins()
        for transport in bed.transports:
            transport.abort()
        bed.socket.close()
        await asyncio.sleep(0)


def write_certificates(place: Path, authority: trustme.CA) -> ProxyAuthSettings:
    """Write the proxy's certificate and users; return settings that name them."""
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_pem.write_to_path(place / "proxy.key")
    (place / "proxy.pem").write_bytes(b"".join(p.bytes() for p in issued.cert_chain_pems))
    authority.cert_pem.write_to_path(place / "ca.pem")
    (place / "users").write_text(f'"ann" "{VERIFIER}"\n')
    return ProxyAuthSettings(
        rules=RULES,
        users_file=place / "users",
        certificate_file=place / "proxy.pem",
        key_file=place / "proxy.key",
        client_ca_file=place / "ca.pem",
    )
