"""One unit of work on one shard: which connection it holds, and for how long.

A session asks for its connection when it first needs one and gives it back when its transaction
ends, so that between two transactions nothing is held and the node is chosen afresh.
"""

from typing import Any, Protocol

from sqlalchemy import Connection

from shardrouter.client.causal import current_scope
from shardrouter.client.pools import driver_connection
from shardrouter.errors import ReplicaTooStale
from shardrouter.postgres import POSITION_SQL, read_position
from shardrouter.routing import Token
from shardrouter.topology import Node, Shard, Slot


class Checkouts(Protocol):
    """Where a unit of work gets its connection: client.core."""

    def checkout(self, shard: Shard, read: "ReadChoice | None") -> tuple[Connection, Node]:
        """Return a connection to the node chosen now."""

    def catches_up(self, connection: Connection, shard: Shard, node: Node) -> bool:
        """True when the checked-out node reaches the context's token within the allowed wait."""


class ReadChoice:
    """How a unit of work reads: from the primary only, or from a replica fresh enough."""

    __slots__ = ("fallback", "max_lag_seconds", "may_use_replica")

    def __init__(self, may_use_replica: bool, max_lag_seconds: float | None, fallback: str) -> None:
        self.may_use_replica = may_use_replica
        self.max_lag_seconds = max_lag_seconds
        self.fallback = fallback


class UnitOfWork:
    """Holds at most one connection to one node of one shard. Not shared between threads."""

    __slots__ = ("_checkouts", "_connection", "_node", "_seen", "read", "shard", "slot", "slots")

    def __init__(
        self,
        checkouts: Checkouts,
        shard: Shard,
        slot: Slot | None,
        slots: int,
        read: ReadChoice | None,
    ) -> None:
        self._checkouts = checkouts
        self._connection: Connection | None = None
        self._node: Node | None = None
        self._seen: Token | None = None
        self.shard = shard
        self.slot = slot
        """The slot of the key, or None for a unit on a whole shard."""
        self.slots = slots
        self.read = read
        """None for a unit that may write."""

    @property
    def node(self) -> Node | None:
        """The node in use, None between two transactions."""
        return self._node

    def connection(self) -> Connection:
        """Return the unit's connection; choose the node and check it out when there is none."""
        if self._connection is None:
            self._seen = current_scope().token
            self._connection, self._node = self._checkouts.checkout(self.shard, self.read)
        elif self.read is not None and self._seen is not current_scope().token:
            self._refuse_stale(self._connection, self._node)
        return self._connection

    def _refuse_stale(self, connection: Connection, node: Node | None) -> None:
        """The context has committed since this read began: the open replica must follow."""
        self._seen = current_scope().token
        assert node is not None  # set together with the connection
        if not self._checkouts.catches_up(connection, self.shard, node):
            raise ReplicaTooStale(
                "the replica in use has not replayed what this context committed meanwhile",
                shard=self.shard.id,
                node=node.id,
                hint="end the read session's transaction (rollback), then it chooses again",
            )

    def release(self) -> None:
        """Give the connection back. Nothing happens when none is held."""
        connection, self._connection, self._node = self._connection, None, None
        if connection is not None:
            release(connection, self.shard)


def release(connection: Connection, shard: Shard) -> None:
    """Return a connection to its pool; learn the position of commits that went unnoticed.

    A connection that is not as its next user expects it is closed instead.
    """
    try:
        if connection.invalidated or connection.closed:
            return
        driver = driver_connection(connection.connection.dbapi_connection)
        if driver.may_have_committed() and not driver.closed:
            _locate_commit(connection, driver, shard)
        if not driver.is_as_new():
            connection.invalidate()
    finally:
        connection.close()


def _locate_commit(connection: Connection, driver: Any, shard: Shard) -> None:
    if not driver.is_idle:
        connection.rollback()
    row = connection.exec_driver_sql(POSITION_SQL).one()
    current_scope().record(shard.id, read_position(row[0], row[1]))
    connection.rollback()
    driver.has_unknown_commit = False
