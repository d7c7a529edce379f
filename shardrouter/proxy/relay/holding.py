"""Hold sessions back while their slots are handed over, and part them from a shard that lost them.

A held session has sent nothing: its message stays in its input, and is taken again when a topology
comes that lets it. Nothing is polled; a topology walks once through who waits and who is at work.
A session at work is looked at (``relay.is_watched``) before it begins its next unit of work.
"""

import asyncio
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from shardrouter.errors import ShardRouterError, SlotsHeld, StatementRefused
from shardrouter.proxy.relay.motions import concerns, motion_for, must_wait, new_home
from shardrouter.proxy.relay.verdicts import CLOSED, DROPPED, FORWARD, WAIT
from shardrouter.proxy.telemetry.metrics_snapshot import Histogram, empty_histogram, observe
from shardrouter.topology import ShardId, Topology

if TYPE_CHECKING:
    from shardrouter.proxy.relay.backend import Backend
    from shardrouter.proxy.relay.pair import BackendRelay
    from shardrouter.proxy.relay.plane import Plane
    from shardrouter.proxy.relay.pool import NodePool
    from shardrouter.proxy.relay.session import Session

WOKEN_AT_ONCE: Final = 64  # then the event loop has its turn: the lease is kept on it
REFUSED_AT_ONCE: Final = 512  # of those that were held too long; the others at the next sweep
_BEGINNINGS: Final = frozenset(b"QPBDCEF")
_IDLE: Final = ord("I")


class Holding:
    """The held sessions of one worker, in the order they came. Belongs to one event loop."""

    def __init__(self, plane: "Plane") -> None:
        self.seconds: Histogram = empty_histogram()
        """How long sessions were held, of those that are no more."""

        self._plane = plane
        self._topology: Topology | None = None
        self._held: dict[Session, float] = {}
        self._woken: dict[Session, None] = {}
        self._was_lease_over = False

    def __len__(self) -> int:
        return len(self._held)

    def sessions(self) -> list["Session"]:
        """Return who is held, the first that came first."""
        return list(self._held)

    def since(self, session: "Session") -> float | None:
        """Return when the session began to be held, on the monotonic clock; None: it is not."""
        return self._held.get(session)

    def hold(self, session: "Session") -> None:
        """Wake the session when a topology lets it go on, or refuse it after ``hold_seconds``."""
        self._held.setdefault(session, monotonic())

    def let_go(self, session: "Session") -> None:
        """The session waits no more: it was answered, or is gone."""
        self._woken.pop(session, None)
        since = self._held.pop(session, None)
        if since is not None:
            observe(self.seconds, monotonic() - since)

    # A topology came

    def follow(self, topology: Topology) -> None:
        """Wake whom the topology lets go on, hold whom it does not, watch who is at work."""
        before, self._topology = self._topology, topology
        for session in [s for s in self._held if self._may_go(s, topology)]:
            self._wake(session)
        is_as_before = before is not None and before.owners == topology.owners
        if topology.motions or not is_as_before or (before and before.motions):
            for pool in list(self._plane.pools()):
                self._look_at_row(pool, topology)
                for backend in list(pool.backends):
                    self._look_at(backend, topology)

    def _may_go(self, session: "Session", topology: Topology) -> bool:
        """True when a held session goes on now, or ends."""
        if not must_wait(session.choice, topology, reads=False):
            return True
        return session.relay.backend is not None and self._home(session, topology) is not None

    def _look_at_row(self, pool: "NodePool", topology: Topology) -> None:
        """Take those out of a pool's row who chose it before this topology and may not now."""
        taken = pool.take_out(lambda waiter: self._is_misplaced(waiter.session, pool, topology))
        for waiter in taken:
            self._choose_later(waiter.session, pool, topology)

    def _is_misplaced(self, session: "Session", pool: "NodePool", topology: Topology) -> bool:
        reads = session.choice.only_reads_on(pool)
        if must_wait(session.choice, topology, reads=reads):
            return True
        is_named = session.choice.shard is not None or session.choice.slot is not None
        return is_named and new_home(session.choice, topology, pool.shard.id) is not None

    def _choose_later(self, session: "Session", pool: "NodePool", topology: Topology) -> None:
        """Have a session that waited for a backend choose anew, now or when it may."""
        session.relay.waits_plainly = False
        session.relay.version = 0
        reads = session.choice.only_reads_on(pool)
        if must_wait(session.choice, topology, reads=reads):
            self.hold(session)
        else:
            self._wake(session)

    def _look_at(self, backend: "Backend", topology: Topology) -> None:
        """Look at who has a backend, or is about to get it."""
        pool, claim = backend.pool, backend.reserved_for
        if claim is not None and self._is_misplaced(claim.session, pool, topology):
            claim.drop_claim()
            self._choose_later(claim.session, pool, topology)
        client: Any = backend.relay.client
        if client is None or not concerns(client.session.choice, topology, pool.shard.id):
            return
        client.is_watched = True
        if client.keeps and not client.is_waiting:
            self._woken[client.session] = None
            self._wake_soon()

    # Waking

    def _wake(self, session: "Session") -> None:
        self.let_go(session)
        self._woken[session] = None
        self._wake_soon()

    def _wake_soon(self) -> None:
        if len(self._woken) == 1:
            asyncio.get_running_loop().call_soon(self._wake_some)

    def _wake_some(self) -> None:
        for session in list(islice(self._woken, WOKEN_AT_ONCE)):
            if self._woken.pop(session, self) is self or session.is_over:
                continue  # one of those before it ended it
            if session.relay.backend is None or session.relay.is_waiting:
                session.attachment.choose_again()
            else:
                self.at_rest(session)
        if self._woken:
            asyncio.get_running_loop().call_soon(self._wake_some)

    # Sessions at work

    def before(self, session: "Session", kind: int) -> int:
        """Decide on a message of a watched session. Returns a verdict; FORWARD: go on as always."""
        relay = session.relay
        backend = relay.backend
        if backend is None:
            relay.is_watched = False  # the choice decides
            return FORWARD
        if kind not in _BEGINNINGS or backend.stream.is_skipping:
            return FORWARD
        if backend.stream.owed():
            if not backend.stream.will_be_quiet():
                return FORWARD  # more of what has begun
            backend.is_held = True  # it is taken again when all is answered
            return WAIT
        if backend.stream.status != _IDLE:
            return FORWARD
        if relay.keeps:
            return self._begin(session, backend)
        asyncio.get_running_loop().call_soon(self._part, session, backend)
        return WAIT

    def _part(self, session: "Session", backend: "BackendRelay") -> None:
        """Have a session that keeps nothing choose anew between two units of work."""
        relay = session.relay
        if relay.backend is backend and not backend.stream.owed():
            backend.quiet()
        if relay.backend is None and relay.is_waiting and not session.is_over:
            session.attachment.choose_again()

    def _begin(self, session: "Session", backend: "BackendRelay") -> int:
        """Decide on a unit of work of a session that keeps its backend."""
        choice = session.choice
        try:
            failure = session.attachment.take_failure()
            if failure is not None:
                raise failure
            topology = self._plane.fleet.topology
        except ShardRouterError as error:
            session.refuse(error)
            session.judge.was_refused()  # told already
            return DROPPED
        home = self._home(session, topology)
        if home is not None:
            session.end_with(_moved(home, topology))
            return CLOSED
        if must_wait(choice, topology, reads=choice.only_reads_on(backend.pool)):
            self.hold(session)
            return WAIT
        choice.epoch = topology.epoch
        session.relay.is_watched = False
        return FORWARD

    def at_rest(self, session: "Session") -> None:
        """A watched session that keeps its backend is between transactions: end it where it must.

        What it would read there is a copy that nobody keeps current.
        """
        backend = session.relay.backend
        if session.is_over or backend is None or self._topology is None:
            return
        stream = backend.stream
        is_busy = stream.owed() or stream.status != _IDLE or stream.is_skipping
        home = None if is_busy else self._home(session, self._topology)
        if home is not None:
            session.end_with(_moved(home, self._topology))

    def _home(self, session: "Session", topology: Topology) -> ShardId | None:
        """Return where the rows went of a session that keeps a backend; None: nowhere."""
        return new_home(session.choice, topology, session.relay.backend.pool.shard.id)

    # Time

    def sweep(self, now: float) -> None:
        """Refuse who was held too long; watch who would go on without a lease."""
        limit = self._plane.settings.rebalance.hold_seconds
        for session, since in list(islice(self._held.items(), REFUSED_AT_ONCE)):
            if now - since < limit:
                break
            refusal = self._too_late(session, limit)
            session.choice.least_epoch = 0  # perhaps it is never published: do not ask for it again
            session.attachment.fail(refusal)
        standing = self._plane.fleet.standing
        is_over = standing.clock() >= standing.deadline
        if is_over and not self._was_lease_over:
            self._watch_kept()
        self._was_lease_over = is_over

    def _too_late(self, session: "Session", limit: float) -> SlotsHeld:
        topology, choice = self._topology, session.choice
        motion = None if topology is None else motion_for(choice, topology)
        move = "a move" if motion is None else f"move {motion.move}"
        tells = "list" if motion is None else f"show {motion.move}"
        return SlotsHeld(
            f"this was held back for {limit:g} s and not sent: {move} hands slots over",
            shard=choice.shard if motion is None else motion.source,
            epoch=None if topology is None else topology.epoch,
            hint=f"try again in a moment; `shardrouter move {tells}` tells what the move waits for",
        )

    def _watch_kept(self) -> None:
        """The lease is over: who keeps a backend for a key must not go on there unasked."""
        for backend in self._plane.backends():
            client: Any = backend.relay.client
            if client is not None and client.keeps and client.session.choice.slot is not None:
                client.is_watched = True


def _moved(home: ShardId, topology: Topology) -> StatementRefused:
    return StatementRefused(
        f"the rows of this session's key are on shard {home} now, and it keeps a backend of"
        " another one",
        sqlstate="57P01",
        shard=home,
        epoch=topology.epoch,
        hint="connect again; nothing of what was not answered has been done",
    )
