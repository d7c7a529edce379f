"""The routing core behind both routers: key -> slot -> shard -> node -> connection.

Ordinary synchronous code over SQLAlchemy's sync faces. Router calls it directly, AsyncRouter runs
it in the greenlet bridge; what differs between the two is the Runtime and how engines are made.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection, exc

from shardrouter import metrics
from shardrouter.client.causal import current_scope
from shardrouter.client.gathering.scatter import Scatter
from shardrouter.client.in_flight import InFlight
from shardrouter.client.pin import check_pin
from shardrouter.client.pools import EngineFactory, Pools, checkout_error
from shardrouter.client.runtime import Runtime
from shardrouter.client.slot_counts import SlotCounts
from shardrouter.client.transactions.writes import Writes
from shardrouter.client.unit import Checkout, ReadChoice, UnitOfWork
from shardrouter.config import Settings
from shardrouter.control import Background
from shardrouter.errors import (
    BackendUnreachable,
    ReplicaTooStale,
    RouterClosed,
    RoutingError,
    ShardKeyMissing,
)
from shardrouter.postgres import REPLAY_SQL, replay_position
from shardrouter.routing import Candidate, ReadDemand, read_candidates, writable_node
from shardrouter.sql import OwnRows
from shardrouter.topology import Epoch, Node, NodeId, Shard, ShardId, Slot, Topology, key_slot
from shardrouter.topology.id_layout import slot_of_id

T = TypeVar("T")

Watcher = Callable[[ShardId, NodeId], None]
"""Told the shard and node of each checkout, from the thread that does it."""

UNSET: Any = object()
"""Told apart from None, which is a missing key."""

# Looked up once: finding a labelled counter takes longer than counting.
_READ_REPLICA, _READ_WAITED, _READ_PRIMARY, _READ_REFUSED = (
    metrics.READS.labels(outcome) for outcome in ("replica", "waited", "primary", "refused")
)

CATCH_UP_POLLS_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008)
"""Pauses between two looks at a replica that is catching up; the last one repeats. A commit is
replayed within 0.1 ms on a quiet machine, 3 ms at the 99th percentile."""


class RouterCore:
    """Everything a router does, once."""

    def __init__(
        self,
        settings: Settings,
        background: Background,
        runtime: Runtime,
        make_engine: EngineFactory,
        on_close: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.runtime = runtime
        self.queries = SlotCounts(background.keeper.current().slots)
        self.background = background
        self.pools = Pools(
            settings.pool, make_engine, background.keeper.request_refresh, lambda: self._token_epoch
        )
        self._on_close = on_close
        self._pooled_epoch = 0
        self._token_epoch = 0
        self._watchers: tuple[Watcher, ...] = ()
        self._clock = clock
        self._process = os.getpid()
        self._closed = False
        self._own: OwnRows | None = None
        hold_seconds = settings.rebalance.hold_seconds
        self.in_flight = InFlight(self._topology_for_context, runtime, hold_seconds, clock)
        background.keeper.on_change(self.in_flight.wake)
        background.keeper.on_lease(self.in_flight.move_lease)
        background.keeper.watch_drain(self.in_flight.drain)
        self.writes = Writes(self)
        self.scatter = Scatter(self, settings.gather)

    # Where a key lives

    @property
    def topology(self) -> Topology:
        """The current topology. Raises LeaseExpired, RouterClosed."""
        if self._closed or os.getpid() != self._process:
            self._refuse_use()
        return self.background.keeper.current()

    def _topology_for_context(self) -> Topology:
        """The current topology, a newer one where the context's token tells that there is one.

        Another process may have written by a topology that has not reached this one yet, to a
        shard that owns the rows since. Raises LeaseExpired, RouterClosed.
        """
        topology = self.topology
        if current_scope().token.epoch > topology.epoch:
            self.reload(topology.epoch)  # still an earlier one: the token is of another fleet
            topology = self.topology
        return topology

    def locate(
        self, key: Any = UNSET, shard: str | None = None, id: Any = UNSET
    ) -> tuple[Topology, Shard, Slot | None]:
        """Return the shard of a key, of an id made by ``new_id``, or of a shard's name."""
        topology = self.topology
        given = (key is not UNSET) + (id is not UNSET) + (shard is not None)
        if given != 1:
            raise ShardKeyMissing(
                f"{given} of key, id and shard were given",
                epoch=topology.epoch,
                hint="name one: router.session(key=...), (id=...) or (shard=...)",
            )
        if shard is not None:
            check_pin(("shard", shard))
            return topology, topology.shard(shard), None
        if id is not UNSET:
            slot = slot_of_id(id, topology.slots)
            check_pin(("slot", slot))
        else:
            slot = key_slot(key, topology.slots)
            check_pin(("key", key))
        return topology, topology.owner(slot), slot

    # Units of work

    def unit(
        self,
        key: Any = UNSET,
        *,
        shard: str | None = None,
        id: Any = UNSET,
        read: str | None = None,
        max_lag: float | str | None = None,
        fallback: str | None = None,
    ) -> UnitOfWork:
        """Return a unit of work on the shard of a key; nothing is connected yet."""
        topology, owner, slot = self.locate(key, shard, id)
        choice = self.read_choice(read, max_lag, fallback)
        return UnitOfWork(self, owner, slot, topology.slots, choice)

    def read_choice(
        self, read: str | None, max_lag: float | str | None, fallback: str | None
    ) -> ReadChoice | None:
        """Return how to read, None for writing. Raises RoutingError on a word we do not know."""
        if read is None and max_lag is None and fallback is None:
            return None
        if read not in ("replica", "primary") or fallback not in (None, "primary", "error"):
            raise RoutingError(
                f"not a way to read: read={read!r}, max_lag={max_lag!r}, fallback={fallback!r}",
                hint='read is None (write), "replica" or "primary"; max_lag ("2s" or seconds) and '
                'fallback ("primary" or "error") go with read="replica"',
            )
        routing = self.settings.routing
        seconds = routing.max_lag_seconds if max_lag is None else parse_seconds(max_lag)
        return ReadChoice(read == "replica", seconds, fallback or routing.replica_fallback)

    # Choosing nodes and checking out (called by UnitOfWork)

    def checkout(self, shard: Shard, read: ReadChoice | None) -> Checkout:
        """Return a connection to the node that may answer now.

        Raises BackendUnreachable, PoolTimeout, NoPrimary, ReplicaTooStale, LeaseExpired.
        """
        topology = self.topology
        if topology.epoch != self._pooled_epoch:
            self._retire_pools(topology)
        shard = topology.shard(shard.id)  # the unit may have been made an epoch ago
        if current_scope().pending:
            self.writes.settle_pending(shard.id)
        checkout = self._choose(topology, shard, read)
        for watcher in self._watchers:
            watcher(shard.id, checkout.node.id)
        return checkout

    def _choose(self, topology: Topology, shard: Shard, read: ReadChoice | None) -> Checkout:
        if read is None:
            return self._checkout_primary(topology, shard, is_read=False)
        if read.may_use_replica:
            found = self._checkout_replica(topology, shard, read)
            if found is not None:
                return found
            if read.fallback == "error":
                _READ_REFUSED.inc()
                raise ReplicaTooStale(
                    "no replica is up and fresh enough",
                    shard=shard.id,
                    epoch=topology.epoch,
                    hint='retry, raise max_lag, or allow fallback="primary"',
                )
        _READ_PRIMARY.inc()
        return self._checkout_primary(topology, shard, is_read=True)

    def _checkout_primary(self, topology: Topology, shard: Shard, is_read: bool) -> Checkout:
        node = writable_node(shard, self.background.monitor.view, topology.epoch)
        return self._connect(topology, shard, node, is_read)

    def _checkout_replica(
        self, topology: Topology, shard: Shard, read: ReadChoice
    ) -> Checkout | None:
        demand = self._demand(topology, shard, read.max_lag_seconds)
        view = self.background.monitor.view
        candidates = read_candidates(shard, view, demand, self.pools.in_use, self._clock())
        for candidate in candidates:
            checkout = self._try_candidate(topology, shard, candidate, demand)
            if checkout is not None:
                (_READ_REPLICA if candidate.is_fresh else _READ_WAITED).inc()
                return checkout
            if not candidate.is_fresh:
                return None  # the wait was spent on the furthest one
        return None

    def _demand(
        self, topology: Topology, shard: Shard, max_lag_seconds: float | None
    ) -> ReadDemand:
        need = current_scope().token.need(shard.id)
        zone = self.settings.routing.zone
        return ReadDemand(need, max_lag_seconds, zone, topology.floor(shard.id))

    def _try_candidate(
        self, topology: Topology, shard: Shard, candidate: Candidate, demand: ReadDemand
    ) -> Checkout | None:
        try:
            checkout = self._connect(topology, shard, candidate.node, is_read=True)
        except BackendUnreachable as error:
            self.background.monitor.report_down(candidate.node.id, error.message)
            return None
        if candidate.is_fresh:
            return checkout
        is_reached = self._is_reached(checkout.connection, demand)
        checkout.connection.rollback()  # the questions opened a transaction
        if is_reached:
            return checkout
        checkout.give_back()
        return None

    def _connect(self, topology: Topology, shard: Shard, node: Node, is_read: bool) -> Checkout:
        engine = self.pools.engine(shard, node)
        try:
            checkout = Checkout(engine, engine.raw_connection(), node)
        except (exc.SQLAlchemyError, psycopg.Error) as error:
            raise checkout_error(error, shard, node, topology.epoch) from error
        if is_read:
            checkout.driver.only_read(True)
        return checkout

    def catches_up(self, checkout: Checkout, shard: Shard) -> bool:
        """True when the checked-out node reaches the context's token within the allowed wait."""
        topology = self.topology
        if checkout.node.id == topology.shard(shard.id).primary.id:
            return True
        return self._is_reached(checkout.connection, self._demand(topology, shard, None))

    def _is_reached(self, connection: Connection, demand: ReadDemand) -> bool:
        """Ask the checked-out replica itself until it has replayed enough, within the wait."""
        if demand.need is None and demand.floor is None:
            return True
        deadline = self._clock() + self.settings.routing.catch_up_wait_ms / 1000
        for pause in chain(CATCH_UP_POLLS_SECONDS, repeat(CATCH_UP_POLLS_SECONDS[-1])):
            lsn, restarted, received = connection.exec_driver_sql(REPLAY_SQL).one()
            if lsn is None:
                return False  # not in recovery: this is no replica any more
            if demand.is_met_by(replay_position(lsn, restarted, received)):
                return True
            if self._clock() + pause > deadline:
                return False
            self.runtime.sleep(pause)
        raise AssertionError("unreachable: the pauses never end")

    def own_rows(self, topology: Topology) -> OwnRows | None:
        """Return what tells own rows from those on their way; None while no slot moves."""
        if not topology.motions:
            return None
        own = self._own
        if own is None or own.topology is not topology:
            own = self._own = OwnRows(topology)
        return own

    def reload(self, before: Epoch) -> bool:
        """Ask the catalog for the newest topology; True when it is of an epoch after that one."""
        seconds = self.settings.catalog.statement_timeout_seconds
        keeper = self.background.keeper
        return self.runtime.run_blocking(lambda: keeper.refresh(seconds)).epoch > before

    @contextmanager
    def watch_checkouts(self, watcher: Watcher) -> Iterator[None]:
        """Tell the watcher of every checkout during the block, whoever does it."""
        self._watchers = (*self._watchers, watcher)
        try:
            yield
        finally:
            self._watchers = tuple(w for w in self._watchers if w is not watcher)

    # Over shards

    @contextmanager
    def shard_connection(self, shard_id: ShardId, read: ReadChoice | None) -> Iterator[Connection]:
        """Check out one connection of a shard for the block."""
        shard = self.topology.shard(shard_id)
        checkout = self.checkout(shard, read)
        try:
            yield checkout.connection
        finally:
            checkout.give_back()

    def fan_out(self, calls: list[Callable[[], T]]) -> list[T | Exception]:
        """Run the calls side by side, their commits joining the caller's token."""
        current_scope()  # made here, so that all the calls share it
        return self.runtime.fan_out(calls)

    # Life

    def _retire_pools(self, topology: Topology) -> None:
        """Dispose the pools of nodes that left the topology."""
        if topology.motions or topology.floors:
            # Race: another thread may have come with a later one already.
            self._token_epoch = max(self._token_epoch, topology.epoch)
        self._pooled_epoch = topology.epoch
        for engine in self.pools.retire(node for _, node in topology.nodes()):
            engine.dispose()

    def close(self) -> None:
        """Close all pools and stop the background. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        if os.getpid() == self._process:
            self.in_flight.wake()
            self.writes.close()
            self.background.stop()
            for engine in self.pools.all():
                engine.dispose()
            if self._on_close is not None:
                self._on_close()
        self.runtime.close()

    def _refuse_use(self) -> None:
        if self._closed:
            raise RouterClosed("the router is closed", hint="make a new one")
        raise RouterClosed(
            f"this router belongs to process {self._process}, not to its fork {os.getpid()}",
            hint="make the router after the fork (gunicorn: in post_fork; celery: worker_init)",
        )


def parse_seconds(text: float | str) -> float:
    """Return seconds from a number, ``"2s"`` or ``"250ms"``. Raises RoutingError."""
    try:
        if isinstance(text, int | float):
            seconds = float(text)
        elif text.endswith("ms"):
            seconds = float(text[:-2]) / 1000
        else:
            seconds = float(text.removesuffix("s"))
        if not 0 <= seconds < float("inf"):
            raise ValueError(text)
    except ValueError:
        raise RoutingError(
            f"max_lag {text!r} is not a time", hint='give seconds (2), "2s" or "250ms"'
        ) from None
    return seconds
