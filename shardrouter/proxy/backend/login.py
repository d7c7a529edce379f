"""Log in at a node: from its connection string to a backend that is ready for statements.

SCRAM with the keys a client's login revealed, or with the connection string's password where its
user is the one wanted; nodes that trust us are believed. Passwords in clear text or as MD5 are
never sent. Protocol 3.0 is spoken: every supported server knows it.
"""

import asyncio
import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from shardrouter.errors import (
    BackendError,
    BackendProtocolError,
    BackendRefused,
    BackendUnreachable,
    ConnectionLost,
)
from shardrouter.proxy.backend.address import BackendAddress, SslMode, read_address
from shardrouter.proxy.backend.connect import connect, tls_attempts
from shardrouter.proxy.channel import MessageChannel
from shardrouter.wire import SCRAM_PLUS, ScramClient, ScramKeys, derive_keys, messages

MOST_BYTES: Final = 64 * 1024  # of one message during a login, as libpq allows
MOST_MESSAGES: Final = 1000  # between login and ReadyForQuery: settings, notices
NONCE_BYTES: Final = 18  # as libpq

_OK, _CLEARTEXT, _MD5, _SASL, _CONTINUE, _FINAL = 0, 3, 5, 10, 11, 12


@dataclass(slots=True)
class OpenedBackend:
    """A backend that is idle and outside a transaction, as its server said with ReadyForQuery."""

    channel: MessageChannel = field(repr=False)
    pid: int
    key: bytes = field(repr=False)
    parameters: dict[str, str]
    """What ParameterStatus told."""

    @property
    def transport(self) -> asyncio.Transport:
        return self.channel.transport

    @property
    def leftover(self) -> bytes:
        """Take what came behind ReadyForQuery; set the transport's next protocol at once."""
        return self.channel.detach()

    @property
    def is_over(self) -> bool:
        """True when the server closed the connection since."""
        return self.channel.is_over


async def open_backend(
    dsn: str,
    user: str,
    database: str,
    parameters: Mapping[str, str],
    secret: ScramKeys | None,
    timeout_seconds: float,
) -> OpenedBackend:
    """Return a backend of ``user`` on the node, its startup packet carrying ``parameters``.

    Raises BackendUnreachable (no connection, no answer in time), BackendRefused (with the node's
    own words), BackendProtocolError and BackendLost, all of them BackendError; SettingsError
    where the connection string cannot be used.
    """
    address = read_address(dsn)
    if address.connect_timeout_seconds is not None:
        timeout_seconds = min(timeout_seconds, address.connect_timeout_seconds)
    startup = messages.startup({**parameters, "user": user, "database": database})
    login = _Login(address, user, startup, secret)
    try:
        async with asyncio.timeout(timeout_seconds):
            return await login.run()
    except TimeoutError:
        raise BackendUnreachable(f"{address}: no login within {timeout_seconds:g} s") from None


async def send_cancel(dsn: str, pid: int, key: bytes, timeout_seconds: float) -> None:
    """Ask the node to cancel what the backend runs; return when it closed the connection.

    Nobody learns whether it was of use: Postgres does not tell. Raises BackendUnreachable.
    """
    address = read_address(dsn)
    channel: MessageChannel | None = None
    try:
        async with asyncio.timeout(timeout_seconds):
            # Allowed is as good as demanded: the key must not travel in clear text without need.
            with_tls = address.ssl_mode is not SslMode.DISABLE and not address.is_unix
            channel = await connect(address, with_tls=with_tls)
            channel.write(messages.cancel_request(pid, key))
            await _until_closed(channel)
    except TimeoutError:
        raise BackendUnreachable(f"{address}: a cancel request took too long") from None
    finally:
        if channel is not None:
            channel.transport.abort()


async def _until_closed(channel: MessageChannel) -> None:
    try:
        await channel.read(MOST_BYTES)
    except (BackendError, ConnectionLost):
        return


class _Login:
    """One login, with as many connections as ``sslmode`` allows."""

    def __init__(
        self, address: BackendAddress, user: str, startup: bytes, secret: ScramKeys | None
    ) -> None:
        self._address = address
        self._startup = startup
        self._secret = secret
        self._password = address.password if address.user == user else None
        self._did_scram = False

    async def run(self) -> OpenedBackend:
        first, *others = tls_attempts(self._address)
        try:
            return await self._attempt(with_tls=first)
        except (BackendUnreachable, BackendRefused) as error:
            # As libpq: what failed for the kind of connection may be welcome by the other kind.
            is_worth_it = isinstance(error, BackendUnreachable) or error.sqlstate == "28000"
            if not others or not is_worth_it:
                raise
            try:
                return await self._attempt(with_tls=others[0])
            except BackendUnreachable:
                raise error from None

    async def _attempt(self, *, with_tls: bool) -> OpenedBackend:
        channel = await connect(self._address, with_tls=with_tls)
        try:
            channel.write(self._startup)
            await self._authenticate(channel)
            return await self._until_ready(channel)
        except BaseException:
            channel.transport.abort()
            raise

    async def _authenticate(self, channel: MessageChannel) -> None:
        code, data = await self._read_authentication(channel)
        if code == _SASL:
            await self._scram(channel, data)
            code, data = await self._read_authentication(channel)
        if code != _OK or data:
            raise BackendRefused(
                f"{self._address} asks for {_name_of(code)}, which the proxy does not answer",
                hint="use scram-sha-256 in the node's pg_hba.conf"
                " (password_encryption = 'scram-sha-256', then set the password anew)",
            )
        is_unproven = self._address.must_use_scram or self._address.channel_binding == "require"
        if is_unproven and not self._did_scram:
            raise BackendRefused(f"{self._address} let us in without the SCRAM that was demanded")

    async def _scram(self, channel: MessageChannel, data: bytes) -> None:
        tls = channel.peer.tls
        wish = self._address.channel_binding
        binding = tls.binding if tls is not None and wish != "disable" else None
        offered = [name.decode("ascii", "replace") for name in _mechanisms(data)]
        client = ScramClient(offered, base64.b64encode(secrets.token_bytes(NONCE_BYTES)), binding)
        if wish == "require" and client.mechanism != SCRAM_PLUS:
            raise BackendRefused(f"{self._address} offers no channel binding, which is demanded")
        self._require_secret()
        channel.write(messages.sasl_initial_response(client.mechanism, client.first()))
        salt, iterations = client.read_challenge(await self._sasl(channel, _CONTINUE))
        channel.write(messages.sasl_response(client.answer(await self._keys(salt, iterations))))
        client.check(await self._sasl(channel, _FINAL))
        self._did_scram = True

    def _require_secret(self) -> None:
        if self._password is None and self._secret is None:
            raise BackendRefused(
                f"{self._address} asks for a password and the proxy has no secret of this user",
                hint="let the user log in by scram-sha-256, add its client-key to the users file,"
                " or trust the proxy's address in the node's pg_hba.conf",
            )

    async def _keys(self, salt: bytes, iterations: int) -> ScramKeys:
        if self._password is not None:
            # A thread: a million iterations would hold up every client of this worker.
            return await asyncio.to_thread(_derived, self._password, salt, iterations)
        secret = self._secret
        assert secret is not None
        if (secret.salt, secret.iterations) != (salt, iterations):
            raise BackendRefused(
                f"{self._address} has another verifier of this user than the proxy logged in by",
                hint="give the role the same verifier on every node:"
                " ALTER ROLE ... PASSWORD 'SCRAM-SHA-256$...'",
            )
        return secret

    async def _sasl(self, channel: MessageChannel, expected: int) -> bytes:
        code, data = await self._read_authentication(channel)
        if code != expected:
            raise BackendProtocolError(f"{self._address} left the SCRAM talk halfway")
        return data

    async def _read_authentication(self, channel: MessageChannel) -> tuple[int, bytes]:
        for _ in range(MOST_MESSAGES):
            kind, body = await channel.read(MOST_BYTES)
            match kind:
                case 0x52 if len(body) >= 4:  # R
                    return int.from_bytes(body[:4]), body[4:]
                case 0x45:  # E
                    raise _refusal(body)
                case 0x4E:  # N
                    continue
                case _:
                    break
        raise BackendProtocolError(f"{self._address} does not log us in as Postgres does")

    async def _until_ready(self, channel: MessageChannel) -> OpenedBackend:
        backend = OpenedBackend(channel, 0, b"", {})
        for _ in range(MOST_MESSAGES):
            kind, body = await channel.read(MOST_BYTES)
            match kind:
                case 0x5A if body == b"I":  # Z
                    return backend
                case 0x53:  # S
                    name, value = self._pair(body)
                    backend.parameters[name] = value
                case 0x4B if 8 <= len(body) <= 260:  # K
                    backend.pid, backend.key = int.from_bytes(body[:4]), body[4:]
                case 0x45:  # E
                    raise _refusal(body)
                case 0x4E:  # N
                    continue
                case _:
                    break
        raise BackendProtocolError(f"{self._address} does not start a session as Postgres does")

    def _pair(self, body: bytes) -> tuple[str, str]:
        parts = body.split(b"\0")
        if len(parts) != 3 or parts[2]:
            raise BackendProtocolError(f"{self._address} sent a malformed ParameterStatus")
        return (
            parts[0].decode("utf-8", "surrogateescape"),
            parts[1].decode("utf-8", "surrogateescape"),
        )


@lru_cache(maxsize=256)  # a pool logs in with the same password again and again
def _derived(password: str, salt: bytes, iterations: int) -> ScramKeys:
    return derive_keys(password, salt, iterations)


def _mechanisms(data: bytes) -> list[bytes]:
    if not data.endswith(b"\0"):
        raise BackendProtocolError("the node's list of SASL mechanisms has no end")
    return [name for name in data.split(b"\0") if name]


def _refusal(body: bytes) -> BackendRefused:
    fields = messages.read_error_fields(body)
    return BackendRefused(fields.get("M") or "the node gave no reason", fields=fields)


def _name_of(code: int) -> str:
    return {
        _CLEARTEXT: "a password in clear text",
        _MD5: "an MD5 password",
    }.get(code, f"authentication of kind {code}")
