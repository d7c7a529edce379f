"""Let a client prove who it is.

Unknown users take the same steps as known ones, with the same messages, and fail at the same place
with the same words. AuthenticationOk is not sent here: the session sends it together with what
follows, when it is certain that there will be a session.
"""

import asyncio
import logging
from typing import Final

from shardrouter.errors import ClientProtocolError, LoginRefused
from shardrouter.proxy.channel import MessageChannel, Peer
from shardrouter.proxy.login.door import LoginDoor
from shardrouter.proxy.login.identity import Identity
from shardrouter.proxy.login.rules import Method
from shardrouter.wire import MOST_SASL_BYTES, ScramKeys, ScramServer, StartupMessage, messages

logger = logging.getLogger(__name__)

_PHYSICAL: Final = frozenset({"true", "on", "yes", "1"})  # of `replication`; `database` is logical


async def authenticate(
    channel: MessageChannel, startup: StartupMessage, door: LoginDoor
) -> Identity:
    """Return who the client is. Raises LoginRefused, ClientProtocolError and ConnectionLost."""
    peer = channel.peer
    if door.requires_tls and not peer.is_unix and peer.tls is None:
        raise LoginRefused("TLS is required", reason="tls", hint="connect with sslmode=require")
    method = door.rules.decide(
        startup.user,
        startup.database,
        None if peer.is_unix else peer.address,
        has_tls=peer.tls is not None,
        is_replication=(startup.replication or "").lower() in _PHYSICAL,
    )
    match method:
        case Method.TRUST:
            return Identity(startup.user, door.keys_of(startup.user), method)
        case Method.CERTIFICATE:
            _check_certificate(peer, startup.user)
            return Identity(startup.user, door.keys_of(startup.user), method)
        case Method.SCRAM:
            return Identity(startup.user, await _scram(channel, startup.user, door), method)
        case _:
            raise _no_rule(peer, startup, is_rejected=method is Method.REJECT)


def _check_certificate(peer: Peer, user: str) -> None:
    names = peer.tls.certificate_names if peer.tls is not None else ()
    if names != (user,):
        raise LoginRefused(
            f'certificate authentication failed for user "{user}"',
            reason="credentials",
            hint="connect with a client certificate whose common name is the user",
        )


async def _scram(channel: MessageChannel, user: str, door: LoginDoor) -> ScramKeys:
    verifier = await door.verifier_of(user)
    tls = channel.peer.tls
    server = ScramServer(verifier, door.new_nonce(), tls.binding if tls is not None else None)
    channel.write(messages.authentication_sasl(server.mechanisms))
    answer = server.first(await _read_sasl(channel))
    channel.write(messages.authentication_sasl_continue(answer))
    proof = await _read_sasl(channel)
    address = channel.peer.address
    await _wait_for_turn(address, user, door)
    # Race: no await between the turn and the outcome, else many could use the same turn.
    signature = server.final(proof)
    if signature is None:
        door.note_failure(address, user)
        raise LoginRefused(
            f'password authentication failed for user "{user}"',
            sqlstate="28P01",
            reason="credentials",
        )
    door.throttle.succeeded(address, user)
    channel.write(messages.authentication_sasl_final(signature))
    return ScramKeys(verifier.iterations, verifier.salt, server.client_key, verifier.server_key)


async def _wait_for_turn(address: str, user: str, door: LoginDoor) -> None:
    is_told = False
    while (seconds := door.throttle.wait_seconds(address, user, door.clock())) > 0:
        if not is_told:
            logger.info("login_waits user=%s address=%s", ascii(user), address or "[local]")
            is_told = True
        await asyncio.sleep(seconds)


async def _read_sasl(channel: MessageChannel) -> bytes:
    kind, body = await channel.read(MOST_SASL_BYTES)
    if kind != 0x70:  # p
        raise ClientProtocolError(f"expected SASL response, got message type {kind}")
    return body


def _no_rule(peer: Peer, startup: StartupMessage, *, is_rejected: bool) -> LoginRefused:
    host = "[local]" if peer.is_unix else peer.address
    encryption = "no encryption" if peer.tls is None else "TLS"
    verdict = "a rule of the proxy rejects" if is_rejected else "no rule of the proxy admits"
    return LoginRefused(
        f'{verdict} host "{host}", user "{startup.user}", database "{startup.database}",'
        f" {encryption}",
        reason="rule",
        hint="see proxy_auth.rules in the proxy's settings",
    )
