"""Make a connection to a node, with TLS as its connection string says.

Whatever follows the answer to SSLRequest in clear text ends the connection: it may have been
injected to be taken for something said inside TLS.
"""

import asyncio
import ipaddress
import os
import socket
import ssl
from typing import Final

from shardrouter.errors import (
    BackendLost,
    BackendProtocolError,
    BackendUnreachable,
    SettingsError,
)
from shardrouter.proxy.backend.address import BackendAddress, SslMode
from shardrouter.proxy.channel import MessageChannel, Peer, TlsFacts
from shardrouter.wire import ALPN, binding_of, messages

TLS_CLOSE_SECONDS: Final = 2.0  # how long a node may take to answer the end of TLS

_OPTIONS: Final = {
    "keepalives_idle": socket.TCP_KEEPIDLE,
    "keepalives_interval": socket.TCP_KEEPINTVL,
    "keepalives_count": socket.TCP_KEEPCNT,
    "tcp_user_timeout": socket.TCP_USER_TIMEOUT,
}


_PROBES: Final = {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 3}
"""Unless the connection string says otherwise. The system's two hours are too long for a client
whose node has vanished. No tcp_user_timeout: a node that reads no COPY data is still alive."""


def tls_attempts(address: BackendAddress) -> tuple[bool, ...]:
    """Return with which kinds of connection to try, in order; True: with TLS."""
    if address.is_unix:
        return (False,)
    match address.ssl_mode:
        case SslMode.DISABLE:
            return (False,)
        case SslMode.ALLOW:
            return (False, True)
        case SslMode.PREFER:
            return (True, False)
        case _:
            return (True,)


async def connect(address: BackendAddress, *, with_tls: bool) -> MessageChannel:
    """Return a channel to the node. Raises BackendUnreachable and BackendProtocolError."""
    loop = asyncio.get_running_loop()
    try:
        connection = await _connected(address)
    except OSError as error:
        raise BackendUnreachable(f"{address}: {_reason(error)}") from error
    try:
        context = _context(address) if with_tls else None
        if context is not None and not address.is_direct_tls:
            is_offered = await _ask_for_tls(connection, address)
            if not is_offered:
                if address.ssl_mode not in (SslMode.PREFER, SslMode.ALLOW):
                    raise BackendUnreachable(f"{address} offers no TLS, sslmode demands it")
                context = None
        _, channel = await loop.create_connection(
            lambda: MessageChannel(broken=BackendProtocolError, lost=BackendLost),
            sock=connection,
            ssl=context,
            server_hostname=address.host if context is not None else None,
            ssl_shutdown_timeout=TLS_CLOSE_SECONDS if context is not None else None,
        )
    except OSError as error:  # ssl.SSLError too
        connection.close()
        raise BackendUnreachable(f"{address}: {_reason(error)}") from error
    except BaseException:
        connection.close()
        raise
    channel.peer = Peer(address.host, address.port, address.is_unix, _tls_facts(channel))
    if address.is_direct_tls and channel.peer.tls is not None and channel.peer.tls.alpn != ALPN:
        channel.close()
        raise BackendUnreachable(f"{address}: direct TLS without the protocol {ALPN}")
    return channel


async def _connected(address: BackendAddress) -> socket.socket:
    """Return a connected socket: the first address of the host that answers."""
    failure: OSError = ConnectionRefusedError(f"the name {address.host} has no address")
    for family, target in await _targets(address):
        connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            if family != socket.AF_UNIX:
                _tune(connection, address)
            await asyncio.get_running_loop().sock_connect(connection, target)
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise failure


async def _targets(address: BackendAddress) -> list[tuple[int, str | tuple[str, int]]]:
    if address.is_unix:
        return [(socket.AF_UNIX, address.unix_path)]
    host = address.host_address or address.host
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, address.port, type=socket.SOCK_STREAM
        )
        return [(family, (str(to[0]), address.port)) for family, _, _, _, to in found]
    return [(socket.AF_INET if version == 4 else socket.AF_INET6, (host, address.port))]


def _tune(connection: socket.socket, address: BackendAddress) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if address.keepalives.get("keepalives", 1):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, option in _OPTIONS.items():
        value = address.keepalives.get(name, _PROBES.get(name, 0))
        if value:  # 0 stands for the system's default
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


async def _ask_for_tls(connection: socket.socket, address: BackendAddress) -> bool:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, messages.SSL_REQUEST)
    answer = await loop.sock_recv(connection, 64)
    if not answer:
        raise BackendUnreachable(f"{address} closed the connection at SSLRequest")
    if answer[:1] not in (b"S", b"N"):
        # An old or overloaded server answers with an ErrorResponse; it is not to be believed.
        raise BackendUnreachable(f"{address} does not answer SSLRequest as Postgres does")
    if len(answer) > 1:
        raise BackendProtocolError(f"{address} sent clear text behind its answer to SSLRequest")
    return answer == b"S"


def _context(address: BackendAddress) -> ssl.SSLContext:
    """Return a context with the files as they are now: renewed certificates need no reload."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = address.ssl_mode is SslMode.VERIFY_FULL
    context.set_alpn_protocols([ALPN])
    try:
        if address.ssl_mode in (SslMode.VERIFY_CA, SslMode.VERIFY_FULL):
            if address.root_file == "system":
                context.load_default_certs()
            else:
                context.load_verify_locations(address.root_file)
        else:
            context.verify_mode = ssl.CERT_NONE
        if address.certificate_file is not None:
            # A password that is missing must not be asked for on the terminal.
            context.load_cert_chain(
                address.certificate_file, address.key_file, lambda: address.key_password or ""
            )
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"{address}: the certificates cannot be loaded: {_reason(error)}"
        ) from None
    return context


def _tls_facts(channel: MessageChannel) -> TlsFacts | None:
    secured = channel.transport.get_extra_info("ssl_object")
    if secured is None:
        return None
    certificate = secured.getpeercert(binary_form=True)
    return TlsFacts(
        version=secured.version() or "",
        cipher=(secured.cipher() or ("",))[0],
        alpn=secured.selected_alpn_protocol(),
        binding=binding_of(certificate) if certificate else None,
    )


def _reason(error: OSError) -> str:
    """Return one line that says what failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if error.errno and not isinstance(error, ssl.SSLError | socket.gaierror):
        return os.strerror(error.errno)  # asyncio's own text is the address once more
    return " ".join((error.strerror or str(error) or type(error).__name__).split())
