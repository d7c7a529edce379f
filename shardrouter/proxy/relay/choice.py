"""Choose the pool for a session's next transaction: which shard, which node, fresh enough or not.

A session names its shard or a key; a fleet of one shard needs neither. Its commits are known by
time only: a read of a replica needs the position of the primary in a sample that was asked for
after the last commit, so that no commit costs a round trip more (DESIGN.md D6).
"""

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

from shardrouter.errors import NoPrimary, ReplicaTooStale, ShardKeyMissing, ShardRouterError
from shardrouter.proxy.relay.motions import must_wait
from shardrouter.routing import Candidate, ReadDemand, Token, read_candidates
from shardrouter.topology import Node, NodeId, Position, Shard, ShardId, Topology

if TYPE_CHECKING:
    from shardrouter.proxy.relay.pool import NodePool
    from shardrouter.proxy.relay.session import Session

PRIMARY: Final = "primary"
REPLICA: Final = "replica"
AUTO: Final = "auto"


class _NotKnownYet(Exception):
    """The position of the session's last commit is not known yet."""


class Choice:
    """Where one session's statements go."""

    def __init__(self, session: "Session") -> None:
        self.session = session
        self.role = session.plane.settings.proxy_session.role
        self.shard: str | None = None
        self.slot: int | None = None
        self.queries = 0
        """How many of the session's queries were put down to a slot: see ``slot_queries``."""

        self.token = Token()
        self.reads_only = False
        self.is_any_shard_right = False
        self.epoch = 0
        """Of the topology by which the current unit of work was sent where it is."""

        self.least_epoch = 0
        """A shard's guard knows a topology of this epoch: no older one is right for the slot."""

        self.problem: ShardRouterError | None = None
        self.last_pool: NodePool | None = None
        self._shard_id: ShardId | None = None
        self._wrote: dict[ShardId, float] = {}
        self._waiting_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def pool(self) -> "NodePool | None":
        """Return the pool to take a backend from; None: the session waits, or was refused."""
        session = self.session
        fleet = session.plane.fleet
        failure = session.attachment.take_failure()
        try:
            topology = fleet.topology
            if failure is not None:
                raise failure
            return self._choose(topology)
        except ShardRouterError as error:
            self._forget_wait()
            self.is_any_shard_right = False
            session.refuse(error)
            return None

    def may_choose(self) -> bool:
        """True when it is known on which shard the session works."""
        topology = self.session.plane.fleet.topology
        return self.shard is not None or self.slot is not None or len(topology.shards) == 1

    def fits(self, pool: "NodePool") -> bool:
        """True when the session's wishes allow a backend of this pool."""
        shard = self.named_shard(self.session.plane.fleet.topology)
        if self.role == REPLICA and pool.is_for_writes:
            return False
        if self.role == PRIMARY and not pool.is_for_writes:
            return False
        return shard.id == pool.shard.id

    def only_reads_on(self, pool: "NodePool") -> bool:
        """True when what the session does on a backend of this pool is meant to read only."""
        return self.role == REPLICA or not pool.is_for_writes

    def take_any_shard(self) -> None:
        """What comes next concerns no shard: if none is named, any will do for it alone."""
        is_named = self.shard is not None or self.slot is not None
        self.is_any_shard_right = not is_named and self.session.relay.backend is None

    def changed(self) -> None:
        """The session's wishes changed: choose anew."""
        self.session.relay.version = 0

    # Shard

    def named_shard(self, topology: Topology) -> Shard:
        """Return the shard the session works on. Raises ShardKeyMissing, UnknownShard."""
        if self.problem is not None:
            raise self.problem
        if self.shard is not None:
            return topology.shard(self.shard)
        if self.slot is not None:
            return topology.owner(self.slot)  # type: ignore[arg-type]
        if len(topology.shards) == 1 or self.is_any_shard_right:
            return topology.shards[0]
        raise ShardKeyMissing(
            f"the fleet has {len(topology.shards)} shards and this session names none",
            epoch=topology.epoch,
            hint="SET shardrouter.key = '...' or SET shardrouter.shard = '...',"
            " or connect with options='-c shardrouter.shard=...'",
        )

    # Node

    def _choose(self, topology: Topology) -> "NodePool | None":
        shard = self.named_shard(topology)
        # Said of this transaction only; when it has to wait, it is said again.
        reads_only, self.reads_only = self.reads_only, False
        wants_replica = self.role == REPLICA or (self.role == AUTO and reads_only)
        self._save_commit()
        if topology.motions or topology.epoch < self.least_epoch:
            holding = self.session.plane.holding
            if must_wait(self, topology, reads=wants_replica):
                holding.hold(self.session)
                return None
            if wants_replica and self.slot in topology.paused_slots and self.shard is None:
                # The owner's replicas may lack what came with the slot: its primary has it all.
                self.session.relay.is_watched = True
                wants_replica = False
        self.epoch = topology.epoch
        if wants_replica:
            return self._choose_replica(topology, shard)
        return self._choose_primary(shard)

    def _choose_primary(self, shard: Shard) -> "NodePool | None":
        fleet = self.session.plane.fleet
        try:
            node = fleet.primary(shard)
        except NoPrimary:
            # A failover: those who write wait for its end, but not for ever.
            settings = self.session.plane.settings.proxy_pool
            if self._has_waited() >= settings.checkout_timeout_seconds:
                raise
            self._wait(settings.checkout_timeout_seconds)
            return None
        self._forget_wait()
        pool = self._pool_of(shard, node)
        relay = self.session.relay
        relay.pool = pool
        # Under ``auto`` the next transaction may be READ ONLY; and any shard will do but once.
        stands = self.role == PRIMARY and not self.is_any_shard_right
        relay.version = fleet.standing.version if stands else 0
        self.is_any_shard_right = False
        return pool

    def _choose_replica(self, topology: Topology, shard: Shard) -> "NodePool | None":
        plane = self.session.plane
        routing = plane.settings.routing
        waited = self._has_waited()
        may_wait = waited < routing.catch_up_wait_ms / 1000
        try:
            need = self._need(shard)
            candidates = self._candidates(topology, shard, need)
        except _NotKnownYet:
            candidates = [Candidate(node, is_fresh=False) for node in shard.replicas]
        for candidate in candidates:
            if candidate.is_fresh and plane.is_usable(candidate.node):
                plane.freshness["waited" if waited else "replica"] += 1
                self._forget_wait()
                self.is_any_shard_right = False
                return self._pool_of(shard, candidate.node)
        if may_wait and candidates:
            for candidate in candidates:
                plane.fleet.monitor.request_sample(candidate.node.id)
            self._wait(routing.catch_up_wait_ms / 1000 - waited)
            return None
        if routing.replica_fallback == "error":
            raise ReplicaTooStale(
                "no replica is up and fresh enough",
                shard=shard.id,
                epoch=topology.epoch,
                hint='retry, or set routing.replica_fallback = "primary"',
            )
        plane.freshness["primary"] += 1
        return self._choose_primary(shard)

    def _candidates(
        self, topology: Topology, shard: Shard, need: Position | None
    ) -> list[Candidate]:
        plane = self.session.plane
        routing, floor = plane.settings.routing, topology.floor(shard.id)
        demand = ReadDemand(need, routing.max_lag_seconds, routing.zone, floor)
        return read_candidates(shard, plane.fleet.monitor.view, demand, plane.load, monotonic())

    def _pool_of(self, shard: Shard, node: Node) -> "NodePool":
        session = self.session
        startup = session.startup if session.mode == "session" else ()
        pool = session.plane.fleet.pool(shard, node, session.user, session.database, startup)
        if session.secret is not None:
            pool.secret = session.secret
        self._shard_id = shard.id
        self.last_pool = pool
        return pool

    # Freshness

    def _save_commit(self) -> None:
        """Note on which shard the session was at work on a primary last, and until when."""
        relay = self.session.relay
        if relay.wrote_at and self._shard_id is not None:
            self._wrote[self._shard_id] = relay.wrote_at
            relay.wrote_at = 0.0

    def _need(self, shard: Shard) -> Position | None:
        """Return the position that a read of the shard must have seen."""
        wrote_at = self._wrote.get(shard.id)
        if wrote_at is not None:
            self._learn_position(shard, wrote_at)
        return self.token.need(shard.id)

    def _learn_position(self, shard: Shard, wrote_at: float) -> None:
        fleet = self.session.plane.fleet
        try:
            primary: NodeId = fleet.primary(shard).id
        except NoPrimary:
            raise _NotKnownYet from None
        sample = fleet.monitor.view.of(primary)
        if sample is None or not sample.is_up or sample.at < wrote_at or sample.position is None:
            fleet.monitor.request_sample(primary)
            raise _NotKnownYet
        self.token = self.token.with_commit(shard.id, sample.position)
        del self._wrote[shard.id]

    def token_now(self) -> Token | None:
        """Return the token that covers all commits so far; None: ask again after the next view."""
        self._save_commit()
        relay = self.session.relay
        if relay.backend is not None and relay.backend.is_primary and self._shard_id is not None:
            self._wrote[self._shard_id] = relay.answered_at  # kept: it was not given back since
        topology = self.session.plane.fleet.topology
        try:
            for shard_id, wrote_at in list(self._wrote.items()):
                self._learn_position(topology.shard(shard_id), wrote_at)
        except _NotKnownYet:
            return None
        self._forget_wait()
        return self.token

    # Waiting for the monitor

    def _has_waited(self) -> float:
        return 0.0 if self._waiting_since is None else monotonic() - self._waiting_since

    def wait_for_view(self, seconds: float) -> None:
        """Take the message again after the next change of the view, or after so long."""
        self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        if self._waiting_since is None:
            self._waiting_since = monotonic()
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, seconds), self._again)
        self.session.plane.fleet.next_view(self._again)

    def _again(self) -> None:
        if self._timer is None:
            return  # called already, by the view or by the clock
        self._timer.cancel()
        self._timer = None
        if not self.session.is_over:
            self.session.attachment.choose_again()

    def _forget_wait(self) -> None:
        self._waiting_since = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def has_waited(self) -> float:
        """Return how many seconds the current message has waited for the monitor."""
        return self._has_waited()
