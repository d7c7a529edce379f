"""One unit of work on one shard: which connection it holds, and for how long.

A session asks for its connection when it first needs one and gives it back when its transaction
ends, so that between two transactions nothing is held and the node is chosen afresh.
"""

from typing import Any, Final, Protocol

from sqlalchemy import Connection, Engine, PoolProxiedConnection

from shardrouter.client.causal import current_scope
from shardrouter.client.in_flight import InFlight
from shardrouter.client.pools import driver_connection
from shardrouter.client.slot_counts import SlotCounts
from shardrouter.client.stay import Stay, needs_primary
from shardrouter.errors import ReplicaTooStale
from shardrouter.postgres import POSITION_SQL, read_position
from shardrouter.routing import Token
from shardrouter.sql import OwnRows
from shardrouter.topology import Node, Shard, Slot, Topology


class Checkout:
    """A connection taken from the pool of one node, on its way to be given back."""

    __slots__ = ("_connection", "_engine", "_is_back", "driver", "node", "pooled")

    def __init__(self, engine: Engine, pooled: PoolProxiedConnection, node: Node) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._is_back = False
        self.pooled = pooled
        self.driver: Any = driver_connection(pooled.dbapi_connection)
        """The psycopg connection."""
        self.node = node

    @property
    def connection(self) -> Connection:
        """SQLAlchemy's face of it, made when it is first asked for."""
        if self._connection is None:
            self._connection = Connection(self._engine, self.pooled)
        return self._connection

    def give_back(self) -> None:
        """Return it to its pool; learn the position of commits that went unnoticed.

        A connection that is not as its next user expects it is closed instead. Safe to call twice.
        """
        if self._is_back:
            return
        self._is_back = True
        connection, driver = self._connection, self.driver
        try:
            if connection is not None and connection.invalidated:
                return
            if connection is not None and connection.in_transaction():
                connection.rollback()
            if not driver.closed:
                if driver.may_have_committed():
                    _locate_commit(self.connection, driver)
                if driver.read_only:
                    driver.only_read(False)
            if not driver.is_as_new() and self.pooled.is_valid:
                self.pooled.invalidate()
        finally:
            if connection is None:
                self.pooled.close()
            else:
                connection.close()


class Checkouts(Protocol):
    """Where a unit of work gets its connection: client.core."""

    in_flight: InFlight
    queries: SlotCounts

    @property
    def topology(self) -> Topology:
        """The current topology. Raises LeaseExpired, RouterClosed."""

    def own_rows(self, topology: Topology) -> OwnRows | None:
        """Return what tells own rows from those on their way; None while no slot moves."""

    def checkout(self, shard: Shard, read: "ReadChoice | None") -> Checkout:
        """Return a connection to the node chosen now."""

    def catches_up(self, checkout: Checkout, shard: Shard) -> bool:
        """True when the checked-out node reaches the context's token within the allowed wait."""


class ReadChoice:
    """How a unit of work reads: from the primary only, or from a replica fresh enough."""

    __slots__ = ("fallback", "max_lag_seconds", "may_use_replica")

    def __init__(self, may_use_replica: bool, max_lag_seconds: float | None, fallback: str) -> None:
        self.may_use_replica = may_use_replica
        self.max_lag_seconds = max_lag_seconds
        self.fallback = fallback

    @property
    def needs_replica(self) -> bool:
        """True when no primary may answer."""
        return self.may_use_replica and self.fallback == "error"


FROM_PRIMARY: Final = ReadChoice(may_use_replica=False, max_lag_seconds=None, fallback="primary")


class UnitOfWork:
    """Holds at most one connection to one node of one shard. Not shared between threads.

    Where the key lives is asked anew for each transaction. While its slot is paused for a move, a
    unit that may write waits before it takes a connection; a transaction that is open goes on.
    """

    __slots__ = ("_checkout", "_checkouts", "_seen", "_stay", "read", "shard", "slot", "slots")

    def __init__(
        self,
        checkouts: Checkouts,
        shard: Shard,
        slot: Slot | None,
        slots: int,
        read: ReadChoice | None,
    ) -> None:
        self._checkouts = checkouts
        self._checkout: Checkout | None = None
        self._stay: Stay | None = None
        self._seen: Token | None = None
        self.shard = shard
        """Of the open transaction, else the last one known."""
        self.slot = slot
        """The slot of the key, or None for a unit on a whole shard."""
        self.slots = slots
        self.read = read
        """None for a unit that may write."""

    @property
    def node(self) -> Node | None:
        """The node in use, None between two transactions."""
        return None if self._checkout is None else self._checkout.node

    def own_rows(self) -> OwnRows | None:
        """Return what tells the shard's own rows from others, None while it holds no others.

        By the topology of the open transaction, else by the current one.
        """
        stay = self._stay
        topology = self._checkouts.topology if stay is None else stay.topology
        if topology is None or not topology.strangers_on(self.shard.id):
            return None
        return self._checkouts.own_rows(topology)

    def connection(self) -> Connection:
        """Return the unit's connection; choose the node and check it out when there is none."""
        return self.checkout().connection

    def checkout(self) -> Checkout:
        """Return what the unit has taken from a pool; take it when there is nothing.

        A session asks for each statement: so this is where queries are counted.
        """
        if self.slot is not None:
            self._checkouts.queries.of[self.slot] += 1
        held = self._checkout
        if held is None:
            if self.read is not None:
                self._seen = current_scope().token
            held = self._take()
        elif self.read is not None and self._seen is not current_scope().token:
            self._refuse_stale(held)
        return held

    def _take(self) -> Checkout:
        stay = self._enter()
        try:
            topology, read = stay.topology, self.read
            assert topology is not None  # it has begun
            if self.slot is not None:
                self.shard = topology.owner(self.slot)
            if read is not None and topology.paused_slots:
                read = FROM_PRIMARY if needs_primary(topology, self._new_stay()) else read
            self._checkout = self._checkouts.checkout(self.shard, read)
        except BaseException:
            self._leave(stay)
            raise
        self._stay = stay
        return self._checkout

    def _enter(self) -> Stay:
        """Begin, after a wait where the slot is paused."""
        stay = self._new_stay()
        self._checkouts.in_flight.enter(stay)
        return stay

    def _leave(self, stay: Stay) -> None:
        self._checkouts.in_flight.leave(stay)

    def _new_stay(self) -> Stay:
        read = self.read
        return Stay(
            slots=() if self.slot is None else (self.slot,),
            shard=self.shard.id,
            writes=read is None,
            waits=read is None or read.needs_replica,
        )

    def _refuse_stale(self, held: Checkout) -> None:
        """The context has committed since this read began: the open replica must follow."""
        self._seen = current_scope().token
        if self.slot is not None and self._checkouts.topology.owners[self.slot] != self.shard.id:
            why = "the slot has moved to another shard since this read began"
        elif not self._checkouts.catches_up(held, self.shard):
            why = "the replica in use has not replayed what this context committed meanwhile"
        else:
            return
        raise ReplicaTooStale(
            why,
            shard=self.shard.id,
            node=held.node.id,
            hint="end the read session's transaction (rollback), then it chooses again",
        )

    def release(self) -> None:
        """Give the connection back. Nothing happens when none is held."""
        held, self._checkout = self._checkout, None
        stay, self._stay = self._stay, None
        try:
            if held is not None:
                held.give_back()
        finally:
            if stay is not None:
                self._leave(stay)


def _locate_commit(connection: Connection, driver: Any) -> None:
    row = connection.exec_driver_sql(POSITION_SQL).one()
    driver.on_commit(read_position(row[0], row[1]))
    connection.rollback()
    driver.has_unknown_commit = False
