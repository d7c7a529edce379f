"""Turn a socket that was just accepted into a channel, with TLS where the client asks for it.

The first packet is read from the raw socket: one byte is looked at (a TLS handshake starts with
0x16), then exactly eight are taken. So TLS starts with the very next byte after SSLRequest, and
whatever was injected behind the request reaches only the handshake, which fails on it.
"""

import asyncio
import socket
from dataclasses import replace
from typing import Final

from shardrouter.errors import ClientProtocolError, ConnectionLost
from shardrouter.proxy.channel import MessageChannel, Peer, TlsFacts
from shardrouter.proxy.login import ClientTls
from shardrouter.wire import ALPN, MOST_STARTUP_BYTES, messages

TLS_CLOSE_SECONDS: Final = 5.0  # how long a client may take to answer the end of TLS
_PROBES: Final = (
    (socket.TCP_KEEPIDLE, 60),
    (socket.TCP_KEEPINTVL, 10),
    (socket.TCP_KEEPCNT, 3),
)
_HANDSHAKE: Final = b"\x16"
_REQUEST_BYTES: Final = 8


async def enter(connection: socket.socket, peer: Peer, tls: ClientTls | None) -> MessageChannel:
    """Return a channel whose next packet is the startup or cancel request.

    Raises ClientProtocolError for what cannot be a first packet, ConnectionLost and OSError (a
    failed handshake is one); the socket is the caller's to close then.
    """
    if peer.is_unix:
        tls = None
    else:
        _probe_now_and_then(connection)
    refused: set[bytes] = set()
    while True:
        if await _first_byte(connection) == _HANDSHAKE:
            if tls is None or refused:
                raise ClientProtocolError("a TLS handshake where none was offered")
            return await _secured(connection, peer, tls, is_direct=True)
        head = await _take(connection)
        if head not in (messages.SSL_REQUEST, messages.GSSENC_REQUEST) or head in refused:
            return await _plain(connection, peer, head)
        _refuse_early_bytes(connection)
        if head == messages.SSL_REQUEST and tls is not None:
            connection.send(b"S")
            return await _secured(connection, peer, tls, is_direct=False)
        # Each at most once: asked again, it is read as a startup packet, and refused as one.
        refused.add(head)
        connection.send(b"N")


async def _plain(connection: socket.socket, peer: Peer, head: bytes) -> MessageChannel:
    channel = MessageChannel(peer, leading=head)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: channel, connection)
    return channel


async def _secured(
    connection: socket.socket, peer: Peer, tls: ClientTls, *, is_direct: bool
) -> MessageChannel:
    channel = MessageChannel(peer)
    await asyncio.get_running_loop().connect_accepted_socket(
        lambda: channel,
        connection,
        ssl=tls.context,
        ssl_shutdown_timeout=TLS_CLOSE_SECONDS,
    )
    secured = channel.transport.get_extra_info("ssl_object")
    alpn = secured.selected_alpn_protocol()
    if is_direct and alpn != ALPN:
        # Else a page of another origin could make a browser speak to us (ALPACA).
        channel.transport.abort()
        raise ClientProtocolError(f"direct TLS without the protocol {ALPN}")
    channel.peer = replace(
        peer,
        tls=TlsFacts(
            version=secured.version() or "",
            cipher=(secured.cipher() or ("",))[0],
            alpn=alpn,
            certificate_names=_names_of(secured.getpeercert() or {}),
            binding=tls.binding,
        ),
    )
    return channel


def _probe_now_and_then(connection: socket.socket) -> None:
    """Find out within two minutes about a client that vanished; it may hold a backend."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _PROBES:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _names_of(certificate: dict[str, object]) -> tuple[str, ...]:
    """Return the common names of a certificate that was verified."""
    subject = certificate.get("subject", ())
    assert isinstance(subject, tuple)
    return tuple(value for relative in subject for name, value in relative if name == "commonName")


def _refuse_early_bytes(connection: socket.socket) -> None:
    """A client waits for the answer to its request: what is here already is not from it."""
    try:
        early = connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return
    if early:
        raise ClientProtocolError("received unencrypted data after SSL request")


async def _first_byte(connection: socket.socket) -> bytes:
    while True:
        try:
            first = connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            await _readable(connection)
            continue
        if not first:
            raise ConnectionLost
        return first


async def _take(connection: socket.socket) -> bytes:
    """Return the first eight bytes; taken, not looked at: waiting for more must not spin."""
    head = b""
    while len(head) < _REQUEST_BYTES:
        try:
            more = connection.recv(_REQUEST_BYTES - len(head))
        except BlockingIOError:
            await _readable(connection)
            continue
        if not more:
            raise ConnectionLost
        head += more
        if len(head) >= 4 and not _REQUEST_BYTES <= int.from_bytes(head[:4]) <= MOST_STARTUP_BYTES:
            raise ClientProtocolError("invalid length of startup packet")
    return head


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(connection, _set_ready, ready)
    try:
        await ready
    finally:
        loop.remove_reader(connection)


def _set_ready(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
