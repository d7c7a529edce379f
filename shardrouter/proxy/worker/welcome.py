"""Make a session of a client that has logged in, and hand its connection to the relay."""

import secrets
from time import monotonic
from typing import Final

from psycopg.conninfo import conninfo_to_dict

from shardrouter.errors import LoginRefused
from shardrouter.proxy.admin.desk import ADMIN_DATABASE, AdminDesk
from shardrouter.proxy.channel import MessageChannel
from shardrouter.proxy.login import Identity
from shardrouter.proxy.relay.own_settings import NAMES, PREFIX
from shardrouter.proxy.relay.plane import Plane
from shardrouter.proxy.relay.session import Session
from shardrouter.proxy.relay.state import Reported, SessionState
from shardrouter.topology import Topology
from shardrouter.wire import messages
from shardrouter.wire.startup import StartupMessage

ATTRS: Final = "target_session_attrs"
LONG_KEY_BYTES: Final = 32  # protocol 3.2: 256 random bits
SHORT_KEY_BYTES: Final = 4  # all that protocol 3.0 has room for
MOST_REPORTED: Final = 1000  # different settings of logins whose parameters are kept

_AUTHENTICATION_OK: Final = b"R\0\0\0\x08\0\0\0\0"


class Welcome:
    """Called by the doorstep with each client whose identity is proven."""

    def __init__(self, plane: Plane, desk: AdminDesk) -> None:
        self._plane = plane
        self._desk = desk
        self._reported: dict[tuple[SessionState, str, str], Reported] = {}
        self._version = 0

    async def __call__(
        self, channel: MessageChannel, startup: StartupMessage, identity: Identity
    ) -> None:
        """Take the client over. Raises ShardRouterError, which the doorstep tells the client."""
        if startup.database == ADMIN_DATABASE:
            self._desk.admit(channel, identity.user, startup.version)
            return
        topology = self._plane.fleet.topology
        self._check(startup, topology)
        session = self._session(channel, startup, identity, topology)
        try:
            reported = await self._first_words(session)
        except BaseException:
            session.client_lost(None)  # it may have a backend already
            raise
        if channel.is_over or channel.transport.is_closing():
            session.client_lost(None)
            return
        self._hand_over(channel, startup, session, reported)

    def _check(self, startup: StartupMessage, topology: Topology) -> None:
        if startup.replication is not None:
            raise LoginRefused(
                "the proxy does not relay replication",
                sqlstate="0A000",
                hint="connect to the node itself",
            )
        known = {_database_of(node.dsn) for _, node in topology.nodes()}
        if startup.database not in known:
            raise LoginRefused(
                f'database "{startup.database}" does not exist',
                sqlstate="3D000",
                reason="rule",
                hint=f"the fleet's database is {', '.join(sorted(known))}",
            )

    def _session(
        self,
        channel: MessageChannel,
        startup: StartupMessage,
        identity: Identity,
        topology: Topology,
    ) -> Session:
        own: dict[str, str] = {}
        settings: dict[str, str] = {}
        for name, value in startup.settings.items():
            low = name.lower()
            if low == ATTRS:
                own[PREFIX + ATTRS] = value
            elif low.startswith(PREFIX):
                own[low] = value
            else:
                settings[low if "." not in low else name] = value
        session = Session(
            self._plane,
            self._plane.next_number(),
            channel.transport,
            identity.user,
            startup.database,
            tuple(sorted(settings.items())),
            identity.secret,
            str(channel.peer),
        )
        order = [name for name in (PREFIX + n for n in ("key_type", *NAMES)) if name in own]
        strangers = own.keys() - set(order)
        session.judge.own.start(
            {name: own[name] for name in [*dict.fromkeys(order), *sorted(strangers)]}, topology
        )
        return session

    async def _first_words(self, session: Session) -> Reported | None:
        """Return the parameters the client is told; checks the settings of its login."""
        plane = self._plane
        choice = session.choice
        if session.mode == "session":
            if not choice.may_choose():
                return None  # a backend comes with the first statement, when the shard is known
            session.relay.settings = plane.nothing_set  # its startup packet brings them
            await session.attachment.first_backend()
            told: Reported = session.relay.backend.params
            return told
        if self._version != plane.fleet.standing.version or len(self._reported) > MOST_REPORTED:
            self._version = plane.fleet.standing.version
            self._reported.clear()
        # Roles of users may have settings of their own (ALTER ROLE ... SET).
        key = (session.relay.settings, choice.role, session.user)
        known = self._reported.get(key)
        if known is None:
            choice.is_any_shard_right = True
            await session.attachment.first_backend()
            choice.is_any_shard_right = False
            choice.changed()
            backend = session.relay.backend
            known = self._reported[key] = backend.params
            session.relay.answered_at = monotonic()
            backend.quiet()
            session.relay.wrote_at = 0.0
        return known

    def _hand_over(
        self,
        channel: MessageChannel,
        startup: StartupMessage,
        session: Session,
        reported: Reported | None,
    ) -> None:
        plane = self._plane
        backend = session.relay.backend
        pid = secrets.randbits(31) if backend is None else backend.keeper.pid
        is_long = startup.version >= messages.PROTOCOL_3_2
        key = secrets.token_bytes(LONG_KEY_BYTES if is_long else SHORT_KEY_BYTES)
        reported = reported or plane.nothing_reported
        words = [_AUTHENTICATION_OK]
        words += (messages.parameter_status(n, v) for n, v in reported.values.items())
        words += (messages.backend_key_data(pid, key), messages.ready())
        session.relay.params = reported
        leftover = channel.detach()
        transport = channel.transport
        plane.admit(session, (pid, key))
        session.attachment.logged_in()
        transport.set_protocol(session.relay)  # type: ignore[arg-type]  # compiled
        transport.write(b"".join(words))
        if leftover:
            session.relay.data_received(leftover)


def _database_of(dsn: str) -> str:
    given = conninfo_to_dict(dsn)
    return str(given.get("dbname") or given.get("user") or "postgres")
