"""What a worker tells of itself: rows for SHOW, numbers for /metrics, its health."""

import os
from collections import Counter
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from shardrouter.build import is_compiled
from shardrouter.control import TopologyKeeper
from shardrouter.errors import LeaseExpired, ShardRouterError
from shardrouter.proxy.relay.backend import Backend
from shardrouter.proxy.relay.motions import motion_for
from shardrouter.proxy.relay.session import Session
from shardrouter.topology import Topology

if TYPE_CHECKING:
    from shardrouter.proxy.worker.run import Worker

_IDLE = ord("I")


class WorkerRows:
    """Answers the questions ``show``, ``metrics`` and ``health``."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._known: Topology | None = None
        worker.source.on_change(self._note)
        with suppress(LeaseExpired):
            self._topology()

    def _note(self, topology: Topology) -> None:
        self._known = topology

    def _topology(self) -> Topology:
        """Return the topology, also after the lease on it: trouble is when somebody looks."""
        try:
            self._known = self._worker.source.current()
        except LeaseExpired:
            if self._known is None:
                raise
        return self._known

    async def show(self, what: str) -> list[dict[str, Any]]:
        """Return rows as ``census`` describes them."""
        makers = {
            "clients": self._clients,
            "backends": self._backends,
            "pools": self._pools,
            "nodes": self._nodes,
            "shards": self._shards,
            "moves": self._moves,
            "leases": self._leases,
        }
        return makers[what]()

    def _clients(self) -> list[dict[str, Any]]:
        now = monotonic()
        return [self._client(session, now) for session in self._worker.plane.sessions.values()]

    def _client(self, session: Session, now: float) -> dict[str, Any]:
        relay, waits = session.relay, session.attachment
        pool = relay.backend.pool if relay.backend is not None else None
        since = self._worker.plane.holding.since(session)
        if since is None and waits.waits_for:
            since = waits.waits_since
        return {
            "worker": self._worker.start.index,
            "id": session.number,
            "user": session.user,
            "database": session.database,
            "address": session.address,
            "state": session.state(),
            "shard": pool.shard.id if pool is not None else session.choice.shard,
            "node": pool.key.node if pool is not None else None,
            "pinned": session.pinned,
            "wait_ms": None if since is None else (now - since) * 1000,
            "age_seconds": now - session.began_at,
            "queries": relay.queries,
            "application_name": relay.params.values.get("application_name", ""),
        }

    def _backends(self) -> list[dict[str, Any]]:
        now = monotonic()
        return [self._backend(backend, now) for backend in self._worker.plane.backends()]

    def _backend(self, backend: Backend, now: float) -> dict[str, Any]:
        relay = backend.relay
        client = relay.client
        is_idle = client is None and not relay.stream.owed()
        return {
            "worker": self._worker.start.index,
            "node": backend.pool.key.node,
            "shard": backend.pool.shard.id,
            "user": backend.pool.key.user,
            "pid": backend.pid,
            "state": state_of(backend),
            "client": client.session.number if client is not None else None,
            "age_seconds": now - backend.opened_at,
            "idle_seconds": now - relay.idle_since if is_idle else None,
            "prepared": len(relay.prepared),
            "replays": backend.replays,
        }

    def _pools(self) -> list[dict[str, Any]]:
        now = monotonic()
        rows = []
        for pool in self._worker.plane.pools():
            waits = [now - w.waits_since for w in pool.waiters if w.waits_for is pool]
            rows.append(
                {
                    "node": pool.key.node,
                    "shard": pool.shard.id,
                    "role": "primary" if pool.is_for_writes else "replica",
                    "user": pool.key.user,
                    "database": pool.key.database,
                    "mode": pool.settings.mode,
                    "idle": len(pool.idle),
                    "active": sum(backend.state != "closing" for backend in pool.backends)
                    - len(pool.idle),
                    "waiting": len(waits),
                    "opening": pool.opening,
                    "size": pool.settings.size,
                    "paused": pool.is_paused,
                    "wait_max_ms": max(waits, default=0.0) * 1000,
                }
            )
        return rows

    def _nodes(self) -> list[dict[str, Any]]:
        worker, now = self._worker, monotonic()
        rows = []
        for shard, node in self._topology().nodes():
            sample = worker.monitor.view.of(node.id)
            pools = [p for p in worker.plane.pools() if p.key.node == node.id]
            back_off = max((p.back_off_until - now for p in pools), default=0.0)
            state = "unknown" if sample is None else "up" if sample.is_up else "down"
            rows.append(
                {
                    "node": node.id,
                    "shard": shard.id,
                    "role": node.role.value,
                    "seen_role": _seen_role(sample),
                    "state": "backing off" if state == "up" and back_off > 0 else state,
                    "lag_bytes": sample.lag_bytes if sample else None,
                    "lag_seconds": sample.lag_seconds if sample else None,
                    "position": str(sample.position) if sample and sample.position else None,
                    "backends": sum(len(p.backends) for p in pools),
                    "back_off_seconds": back_off if back_off > 0 else None,
                    "problem": sample.error if sample else None,
                }
            )
        return rows

    def _shards(self) -> list[dict[str, Any]]:
        worker = self._worker
        topology = self._topology()
        counts = topology.slot_counts()
        rows = []
        for shard in topology.shards:
            try:
                primary = worker.plane.fleet.primary(shard)
                sample = worker.monitor.view.of(primary.id)
                is_up = sample is not None and sample.is_up
            except ShardRouterError:
                primary, is_up = shard.primary, False
            rows.append(
                {
                    "shard": shard.id,
                    "slots": counts[shard.id],
                    "primary": primary.id,
                    "replicas": [n.id for n in shard.nodes if n.id != primary.id],
                    "up": is_up,
                    "epoch": topology.epoch,
                }
            )
        return rows

    def _moves(self) -> list[dict[str, Any]]:
        topology = self._topology()
        held = Counter(
            None if motion is None else motion.move
            for session in self._worker.plane.holding.sessions()
            for motion in (motion_for(session.choice, topology),)
        )
        return [
            {
                "move": motion.move,
                "source": motion.source,
                "target": motion.target,
                "slots": len(motion.slots),
                "motion": motion.motion.value,
                "owner": motion.owner(topology.owners),
                "held": held[motion.move],
                "epoch": topology.epoch,
            }
            for motion in topology.motions
        ]

    def _lease(self) -> tuple[int, float | None, str | None]:
        """Return epoch, seconds left of the lease, and what is wrong."""
        source = self._worker.source
        left = source.lease_seconds_left() if isinstance(source, TopologyKeeper) else None
        try:
            return source.current().epoch, left, None
        except ShardRouterError as error:
            return error.epoch or 0, left, error.message

    def _leases(self) -> list[dict[str, Any]]:
        epoch, left, problem = self._lease()
        return [
            {
                "worker": self._worker.start.index,
                "pid": os.getpid(),
                "epoch": epoch,
                "seconds_left": left,
                "source": "catalog" if isinstance(self._worker.source, TopologyKeeper) else "file",
                "problem": problem,
            }
        ]

    async def health(self) -> dict[str, Any]:
        """Return what /health and /ready are judged by."""
        epoch, _, problem = self._lease()
        samples = self._worker.monitor.view.samples.values()
        return {
            "worker": self._worker.start.index,
            "epoch": epoch,
            "lease_valid": problem is None,
            "nodes_up": sum(sample.is_up for sample in samples),
            "nodes": len(samples),
            "problem": problem,
        }

    async def metrics(self) -> dict[str, Any]:
        """Return a ``metrics_snapshot.Snapshot``."""
        worker, plane = self._worker, self._worker.plane
        sessions = list(plane.sessions.values())
        epoch, left, _ = self._lease()
        return {
            "worker": worker.start.index,
            "pid": os.getpid(),
            "build": "compiled" if is_compiled() else "pure",
            "epoch": epoch,
            "lease_seconds_left": left,
            "clients": len(sessions),
            "waiting": sum(session.state() == "waiting" for session in sessions),
            "held": len(plane.holding),
            "held_seconds": plane.holding.seconds,
            "repeats": plane.repeats,
            "pinned": sum(session.pinned is not None for session in sessions),
            "logins": plane.logins,
            "routes": self._routes(),
            "backends": self._backend_states(),
            "nodes": [
                {
                    "shard": row["shard"],
                    "node": row["node"],
                    "role": row["seen_role"] or row["role"],
                    "up": row["state"] in ("up", "backing off"),
                    "lag_bytes": row["lag_bytes"],
                    "lag_seconds": row["lag_seconds"],
                }
                for row in (self._nodes() if epoch else [])
            ],
            "prepared": self._prepared(),
            "pins": dict(plane.pin_counts),
            "login_failures": dict(worker.doorstep.failures),
            "freshness": dict(plane.freshness),
            "loop_delay": worker.delay.histogram,
        }

    def _prepared(self) -> dict[str, int]:
        plane = self._worker.plane
        statements = [session.relay.statements for session in plane.sessions.values()]
        return {
            "hits": plane.hits + sum(each.hits for each in statements),
            "misses": plane.misses + sum(each.misses for each in statements),
            "evictions": plane.evictions,
            "statements": sum(len(b.relay.prepared) for b in plane.backends()),
        }

    def _routes(self) -> list[dict[str, Any]]:
        rows = []
        for (shard, role), tally in self._worker.plane.fleet.tallies.items():
            rows.append(
                {
                    "shard": shard,
                    "role": role.value,
                    "queries": {
                        "ok": max(0, tally.queries - tally.errors),
                        "error": tally.errors,
                        "lost": tally.lost,
                        "refused": tally.refused,
                    },
                    "transactions": {
                        "committed": tally.transactions - tally.rolled_back,
                        "rolled_back": tally.rolled_back,
                        "lost": tally.lost_transactions,
                    },
                    "bytes_in": tally.bytes_in,
                    "bytes_out": tally.bytes_out,
                    "latency": {"buckets": list(tally.buckets), "sum_seconds": tally.seconds},
                    "wait": {
                        "buckets": list(tally.wait_buckets),
                        "sum_seconds": tally.wait_seconds,
                    },
                }
            )
        return rows

    def _backend_states(self) -> list[dict[str, Any]]:
        counts: dict[tuple[str, str], Counter[str]] = {}
        for pool in self._worker.plane.pools():
            states = counts.setdefault((pool.shard.id, pool.key.node), Counter())
            states.update(state_of(backend) for backend in pool.backends)
            states["opening"] += pool.opening
        return [
            {"shard": shard, "node": node, "states": {k: v for k, v in states.items() if v}}
            for (shard, node), states in counts.items()
        ]


def state_of(backend: Backend) -> str:
    """Return a backend's state as SHOW BACKENDS tells it."""
    relay = backend.relay
    if backend.state == "closing":
        return "closing"
    if relay.client is None:
        return "preparing" if relay.stream.owed() else "idle"
    if relay.stream.owed():
        return "active"
    return "in transaction" if relay.stream.status != _IDLE else "idle"


def _seen_role(sample: Any) -> str | None:
    if sample is None or not sample.is_up:
        return None
    return "replica" if sample.in_recovery else "primary"
