"""Everything the sessions of one worker share: the fleet, pools, statements, counters."""

import asyncio
import logging
import math
import random
import secrets
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any, Final

from shardrouter.config import Settings
from shardrouter.control import Drain, Monitor
from shardrouter.control.tasks import spawn
from shardrouter.errors import BackendError, BackendUnreachable
from shardrouter.proxy.backend.login import open_backend
from shardrouter.proxy.control_link import ControlLink
from shardrouter.proxy.relay.backend import Backend
from shardrouter.proxy.relay.definition import Definitions
from shardrouter.proxy.relay.draining import drain_of
from shardrouter.proxy.relay.fleet import Fleet, TopologySource
from shardrouter.proxy.relay.holding import Holding
from shardrouter.proxy.relay.pool import NodePool, PoolKey, lifetime
from shardrouter.proxy.relay.session import Session
from shardrouter.proxy.relay.slot_queries import SlotQueries
from shardrouter.proxy.relay.state import NO_ROLE, Reported, SessionState, States
from shardrouter.proxy.relay.tally import Tally
from shardrouter.proxy.telemetry.log_events import ConnectionEnd, log_connection_end
from shardrouter.sql import Effects, effects_of
from shardrouter.sql.plain import PlainTexts
from shardrouter.topology import Node, Shard, Topology

logger = logging.getLogger(__name__)

MOST_EFFECTS: Final = 4096  # texts whose effects are kept
LONGEST_KEPT_TEXT: Final = 8192  # bytes
SWEEP_SECONDS: Final = 0.05
QUOTA_SECONDS: Final = 60.0  # a late yes would be a place lost; who waits gives up long before


class Plane:
    """The data plane of one worker. Belongs to one event loop."""

    def __init__(
        self, settings: Settings, source: TopologySource, monitor: Monitor, link: ControlLink
    ) -> None:
        self.settings = settings
        self.source = source
        self.link = link
        self.states = States()
        self.nothing_reported: Reported = self.states.reported({})
        self.nothing_set: SessionState = self.states.state((), NO_ROLE, "")
        self.definitions = Definitions()
        is_for_statements = settings.proxy_pool.mode == "statement"
        self.plain_texts = PlainTexts(may_begin=not is_for_statements)
        self.fleet = Fleet(source, monitor, self._open_pool)
        self.holding = Holding(self)
        self.fleet.on_topology(self.holding.follow)
        self.may_learn = False
        """True when newer topologies come by themselves."""

        self.repeats = 0
        self.sessions: dict[int, Session] = {}
        self.queries = SlotQueries(self.sessions)
        self.keys: dict[tuple[int, bytes], Session] = {}
        self.logins = 0
        self.evictions = 0
        self.hits = 0
        self.misses = 0
        self.pin_counts: Counter[str] = Counter()
        self.freshness: Counter[str] = Counter()
        self.is_paused = False
        self.is_draining = False
        self._effects: OrderedDict[tuple[bytes, bool, bool], Effects] = OrderedDict()
        self._numbers = 0
        self._number_step = 1
        self._rng = random.Random()

    # Clients

    def next_number(self) -> int:
        """Return a number for a client, unique over all workers."""
        self._numbers += self._number_step
        return self._numbers

    def number_clients(self, index: int, workers: int) -> None:
        """Give this worker numbers that no other gives."""
        self._numbers = index + 1 - workers
        self._number_step = workers

    def admit(self, session: Session, key: tuple[int, bytes]) -> None:
        """Count a client in; cancel requests find it by its key."""
        self.sessions[session.number] = session
        session.key = key
        self.keys[key] = session
        self.logins += 1

    def forget(self, session: Session) -> None:
        """A client is gone."""
        if self.sessions.pop(session.number, None) is None:
            return
        if session.key is not None:
            self.keys.pop(session.key, None)
        self.queries.settle(session)
        statements = session.relay.statements
        self.hits += statements.hits
        self.misses += statements.misses
        log_connection_end(
            ConnectionEnd(
                client=session.number,
                user=session.user,
                database=session.database,
                address=session.address,
                seconds=monotonic() - session.began_at,
                queries=session.relay.queries,
                bytes_in=session.relay.bytes_in,
                bytes_out=session.relay.bytes_out,
                reason=session.reason,
            )
        )

    def cancel(self, pid: int, key: bytes) -> bool:
        """Cancel what the client with that key runs. False: it is not ours."""
        found = None
        for (known_pid, known_key), session in self.keys.items():
            if known_pid == pid and secrets.compare_digest(known_key, key):
                found = session
        if found is None:
            return False
        found.cancel()
        return True

    # Statements

    def effects(self, text: bytes, reported: Reported) -> Effects:
        """Return what a text may leave in a session; texts that come again are read once.

        ``reported`` tells how the server reads the text: what a quote is, what a byte.
        """
        key = (text, reported.standard_strings, reported.is_ascii_safe)
        found = self._effects.get(key)
        if found is None:
            found = effects_of(text, standard_strings=key[1], ascii_safe=key[2])
            if len(text) <= LONGEST_KEPT_TEXT:
                self._effects[key] = found
                if len(self._effects) > MOST_EFFECTS:
                    self._effects.popitem(last=False)
        return found

    # Backends

    def pools(self) -> Iterator[NodePool]:
        """Yield every pool."""
        yield from self.fleet.pools.values()

    def backends(self) -> Iterator[Backend]:
        """Yield every backend."""
        for pool in self.fleet.pools.values():
            yield from pool.backends

    def load(self, node: Node) -> int:
        """Return how many backends of the node are at work for us."""
        return sum(
            len(pool.backends) - len(pool.idle) + len(pool.waiters)
            for pool in self.fleet.pools.values()
            if pool.key.node == node.id
        )

    def is_usable(self, node: Node) -> bool:
        """False while connections to the node fail."""
        now = monotonic()
        return not any(
            pool.key.node == node.id and pool.back_off_until > now and not pool.idle
            for pool in self.fleet.pools.values()
        )

    def refresh_topology(self) -> None:
        """A shard says that we are not up to date."""
        refresh = getattr(self.source, "request_refresh", None)
        if refresh is not None:
            refresh()

    def count_loss(self, session: Session) -> None:
        """A backend broke under a client."""
        pool = session.choice.last_pool
        if pool is not None:
            pool.tally.lost += 1
            pool.tally.lost_transactions += 1

    def _open_pool(
        self, key: PoolKey, shard: Shard, node: Node, tally: Tally, is_for_writes: bool
    ) -> NodePool:
        pool = NodePool(
            key, shard, node, tally, is_for_writes, self.settings.proxy_pool,
            self._open, self._want, self._freed,
        )  # fmt: skip
        pool.is_paused = self.is_paused
        pool.on_trouble = self._tell_trouble
        pool.is_wanted_elsewhere = lambda free: any(
            found.is_denied and found.waiters for found in self._siblings(free)
        )
        return pool

    async def _open(self, pool: NodePool) -> Backend:
        key = pool.key
        settings = pool.settings
        opened = await open_backend(
            key.dsn, key.user, key.database, dict(key.startup), pool.secret,
            settings.connect_timeout_seconds,
        )  # fmt: skip
        reported = self.states.reported(opened.parameters)
        dies_at = monotonic() + lifetime(settings, self._rng)
        backend = Backend(self, pool, opened.transport, opened.pid, opened.key, reported, dies_at)
        leftover = opened.leftover
        opened.transport.set_protocol(backend.relay)  # type: ignore[arg-type]  # compiled
        backend.relay.slow_seconds = self._slow_seconds()
        if opened.is_over:
            raise BackendError("the node closed the connection at once", node=key.node)
        if leftover:
            backend.relay.data_received(leftover)
        self._check_role(pool, backend)
        return backend

    def _check_role(self, pool: NodePool, backend: Backend) -> None:
        """A node that was believed to be the primary and is in recovery gets no writes."""
        if pool.is_for_writes and not backend.is_primary:
            backend.abort()
            self.fleet.suspect(pool.key.node)
            raise BackendUnreachable("the node is in recovery, and no primary now")

    def _tell_trouble(self, pool: NodePool, error: BackendError) -> None:
        """A node cannot be reached: say so, and let those who wait for a replica try another."""
        self.fleet.monitor.report_down(pool.key.node, error.message)
        self.fleet.standing.version += 1
        if pool.is_for_writes:
            return
        pool.send_on()

    async def _want(self, pool: NodePool) -> bool:
        is_granted = await self.link.ask(
            "want",
            timeout_seconds=QUOTA_SECONDS,
            pool=pool.name,
            node=pool.key.node,
            user=pool.key.user,
            count=1,
        )
        if not is_granted:
            self._make_way(pool)
        return bool(is_granted)

    def _make_way(self, pool: NodePool) -> None:
        """Close what has been idle longest for other logins of the user: they share a bound.

        The parent counts them as one, so that it asks nobody to give way here.
        """
        idle = [found for found in self._siblings(pool) if found.idle]
        if idle:
            min(idle, key=lambda found: found.idle[0].idle_since).spare(1)

    def _siblings(self, pool: NodePool) -> list[NodePool]:
        """Return the pools of the same user on the same node, with other startup parameters."""
        return [found for found in self._pools_named(pool.name) if found is not pool]

    def _freed(self, pool: NodePool) -> None:
        self.link.tell("freed", pool=pool.name, node=pool.key.node, user=pool.key.user, count=1)

    # Bounds that the parent shares out

    def granted(self, pool: str) -> None:
        """The parent has a place for a pool that was refused one."""
        pools = self._pools_named(pool)
        waiting = [found for found in pools if found.waiters]
        for found in pools:
            if found not in waiting[:1]:
                found.is_denied = False
        if waiting:
            waiting[0].granted()
        elif pools:
            pools[0].granted()  # it gives the place back
        else:
            node, _, user = pool.partition("/")
            self.link.tell("freed", pool=pool, node=node, user=user, count=1)

    def shed(self, pool: str, count: int) -> None:
        """Another worker needs places."""
        for found in self._pools_named(pool):
            if count <= 0:
                return
            here = min(count, len(found.backends) + found.opening)
            found.shed(here)
            count -= here

    def spare(self, pool: str, count: int) -> None:
        """Another worker wants more than its share: it may have what lies idle here."""
        for found in self._pools_named(pool):
            found.spare(count)

    def _pools_named(self, name: str) -> list[NodePool]:
        return [pool for pool in self.fleet.pools.values() if pool.name == name]

    # Now and then

    async def sweep(self) -> None:
        """Do what is due, for ever: late waiters, old backends, time limits."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep_once(monotonic())

    def sweep_once(self, now: float) -> None:
        """Do what is due now."""
        self.holding.sweep(now)
        for pool in list(self.fleet.pools.values()):
            pool.sweep(now)
            if pool.is_denied and pool.waiters:
                self._make_way(pool)  # its place may have gone to another worker
            for backend in list(pool.backends):
                self._check_limits(backend, now)
        for key in [k for k, p in self.fleet.pools.items() if p.is_unused() and p.is_stale(now)]:
            del self.fleet.pools[key]

    def _check_limits(self, backend: Backend, now: float) -> None:
        settings = backend.pool.settings
        if backend.is_hung(now):
            backend.abort()
            backend.backend_lost(TimeoutError("a question of the proxy was not answered"))
            return
        if backend.is_stuck(now):
            backend.abort()
            return
        client = backend.relay.client
        if client is None:
            return
        owed = backend.relay.stream.owed()
        limit = settings.query_timeout_seconds
        if owed and limit is not None:
            _enforce_limit(backend, now, limit)
        idle_limit = settings.transaction_idle_seconds
        if idle_limit is not None and not owed and backend.relay.stream.status != ord("I"):
            client.session.check_idle_transaction(now, idle_limit)

    def drain(self, topology: Topology) -> Drain:
        """Tell the keeper what is open of work that began before this topology."""
        if self.fleet.taken() is not topology:
            return Drain(readers=False, writers=False)  # sessions still choose by an older one
        return drain_of(topology, self.backends())

    def pause(self, pools: Iterable[NodePool] | None = None) -> None:
        """Hand out no backends until ``resume``."""
        self.is_paused = pools is None or self.is_paused
        for pool in pools if pools is not None else self.pools():
            pool.is_paused = True

    def resume(self, pools: Iterable[NodePool] | None = None) -> None:
        """Hand out backends again."""
        if pools is None:
            self.is_paused = False
        for pool in list(pools if pools is not None else self.pools()):
            pool.is_paused = False
            pool.serve()

    def configure(self, settings: Settings) -> None:
        """Take new settings."""
        self.settings = settings
        for pool in self.pools():
            pool.configure(settings.proxy_pool)
        for backend in self.backends():
            backend.relay.slow_seconds = self._slow_seconds()

    def _slow_seconds(self) -> float:
        limit = self.settings.proxy.slow_query_ms
        return math.inf if limit is None else limit / 1000

    def spawn(self, work: Any, name: str) -> None:
        """Start background work of a session or backend."""
        spawn(work, name=name)


def _enforce_limit(backend: Backend, now: float, limit_seconds: float) -> None:
    """Cancel what takes too long; a node that does not even heed that is given up."""
    started = backend.relay.client.started
    if now - started <= limit_seconds:
        return
    if backend.overdue_since <= started:
        backend.overdue_since = now
        backend.cancel()
    elif now - backend.overdue_since > backend.pool.settings.connect_timeout_seconds:
        backend.abort()
        backend.backend_lost(
            TimeoutError(f"no answer in {limit_seconds:g} s, and none to the cancel request")
        )
