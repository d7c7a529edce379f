"""Every error shardrouter raises, split by who must act.

::

    ShardRouterError
    ├─ SettingsError              operator: mend the file, command or catalog
    │  ├─ FleetError              the local fleet could not be started, found or stopped
    │  └─ UnsupportedSchema       a table cannot be sharded as it is declared
    ├─ RoutingError               caller: change the statement or the key
    │  ├─ ShardKeyMissing         no key was given, or NULL
    │  ├─ ShardKeyInvalid         a key of a type or value that has no slot
    │  ├─ WrongShardKey           a row of another slot than the session's
    │  ├─ ShardSwapError          another key inside ``router.pin()``
    │  ├─ ReadOnlySession         a write in a read session
    │  ├─ ReferenceWrite          a reference table written outside a transaction over all shards
    │  ├─ CrossShardUnsupported   a gather that cannot be merged exactly
    │  └─ TokenInvalid            a freshness token that is not ours
    ├─ TopologyError              wait, or look at the fleet
    │  ├─ StaleEpoch              someone else changed the topology first
    │  ├─ LeaseExpired            this router was cut off from the catalog for too long
    │  ├─ SlotNotOwned            the shard's guard rejected the row (SR001)
    │  ├─ UnknownShard            a shard or node that is not in the topology
    │  ├─ NoPrimary               no node of the shard may take writes
    │  └─ CatalogUnavailable      the catalog database does not answer
    ├─ BackendError               Postgres or the network
    │  ├─ BackendUnreachable      no connection could be made
    │  ├─ BackendRefused          the node answered a login or a request with an error of its own
    │  ├─ BackendLost             the connection broke while it was used
    │  ├─ BackendProtocolError    the node sent what no Postgres sends (also a ProtocolError)
    │  ├─ PoolTimeout             all connections to a node are in use
    │  ├─ LockTimeout             a table stayed locked by other transactions
    │  ├─ ReplicaTooStale         no replica is fresh enough and the primary was not allowed
    │  └─ ScatterFailed           some shards answered, others failed
    ├─ CommitError                check the data
    │  ├─ CommitInDoubt           the outcome of a commit is not known yet
    │  └─ TransactionAborted      nothing was written on any shard
    ├─ ProtocolError              a bug, or an attack, on one side of a connection
    │  └─ ClientProtocolError     the client sent what no client sends
    ├─ StatementRefused           client of the proxy: mend the statement
    │  ├─ SettingRefused          a setting of the proxy, or its value, is not known
    │  └─ QueryCanceled           somebody cancelled it while it waited
    ├─ LoginRefused               client: who it is, from where, or how it proved it
    ├─ ConnectionLost             the client went away
    ├─ ControlLost                another process of the proxy does not answer
    ├─ AdminError                 admin user: mend the command
    │  ├─ AdminSyntaxError        not a command of the admin database
    │  ├─ AdminDenied             only admin users may do that
    │  └─ NoSuchClient            KILL of a client that is not there
    ├─ RouterClosed               the router was closed, or belongs to the parent process
    └─ IdError                    no id could be made (worker number, clock, horizon)

The first line of a class's docstring is its default message. ``retryable`` says whether the same
call may be repeated as it stands.
"""

from collections.abc import Mapping
from typing import ClassVar


class ShardRouterError(Exception):
    """shardrouter refused or failed."""

    sqlstate: str = "XX000"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        shard: str | None = None,
        node: str | None = None,
        epoch: int | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").splitlines()[0]
        self.hint = hint
        self.shard = shard
        self.node = node
        self.epoch = epoch
        super().__init__(self.message)

    def __str__(self) -> str:
        where = ", ".join(
            f"{name} {value}"
            for name, value in (("shard", self.shard), ("node", self.node), ("epoch", self.epoch))
            if value is not None
        )
        text = f"{self.message} [{where}]" if where else self.message
        return f"{text}\nhint: {self.hint}" if self.hint else text


class SettingsError(ShardRouterError):
    """The settings are not valid."""

    sqlstate = "F0000"


class FleetError(SettingsError):
    """The local fleet could not do that."""

    sqlstate = "58000"


class UnsupportedSchema(SettingsError):
    """The table cannot be sharded as it is declared."""

    sqlstate = "0A000"


class RoutingError(ShardRouterError):
    """The statement or key cannot be routed."""

    sqlstate = "0A000"


class ShardKeyMissing(RoutingError):
    """A shard key is needed and none was given."""


class ShardKeyInvalid(RoutingError):
    """The shard key has no slot."""

    sqlstate = "22023"


class WrongShardKey(RoutingError):
    """The row belongs to another slot than this session."""

    sqlstate = "22023"


class ShardSwapError(RoutingError):
    """The unit of work is pinned to another shard key."""

    sqlstate = "25001"


class ReadOnlySession(RoutingError):
    """The session only reads."""

    sqlstate = "25006"


class ReferenceWrite(RoutingError):
    """A reference table is written on all shards or none."""

    sqlstate = "25001"


class CrossShardUnsupported(RoutingError):
    """The query cannot be merged over shards exactly."""


class TokenInvalid(RoutingError):
    """The freshness token is not valid."""

    sqlstate = "22023"


class TopologyError(ShardRouterError):
    """The topology does not allow that now."""

    sqlstate = "57P03"
    retryable = True


class StaleEpoch(TopologyError):
    """The topology changed in the meantime."""


class LeaseExpired(TopologyError):
    """This router's lease on the topology ran out."""


class SlotNotOwned(TopologyError):
    """The shard does not own the row's slot."""

    sqlstate = "SR001"


class UnknownShard(TopologyError):
    """There is no such shard or node in the topology."""

    sqlstate = "22023"
    retryable = False


class NoPrimary(TopologyError):
    """No node of the shard may take writes."""


class CatalogUnavailable(TopologyError):
    """The catalog database does not answer."""


class BackendError(ShardRouterError):
    """A Postgres node failed."""

    sqlstate = "08000"


class BackendUnreachable(BackendError):
    """The node does not accept connections."""

    sqlstate = "08001"
    retryable = True


class BackendRefused(BackendError):
    """The node refused the connection."""

    sqlstate = "08004"

    def __init__(
        self,
        message: str | None = None,
        *,
        fields: Mapping[str, str] | None = None,
        hint: str | None = None,
        node: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, node=node)
        self.fields: Mapping[str, str] = fields or {}
        """What the node said, by the letters of ErrorResponse; empty where we refused it."""
        if len(code := self.fields.get("C", "")) == 5 and code.isalnum():
            self.sqlstate = code


class BackendLost(BackendError):
    """The connection to the node broke."""

    sqlstate = "08006"


class PoolTimeout(BackendError):
    """All connections to the node are in use."""

    sqlstate = "53300"
    retryable = True


class LockTimeout(BackendError):
    """The table stayed locked by other transactions."""

    sqlstate = "55P03"
    retryable = True


class ReplicaTooStale(BackendError):
    """No replica is fresh enough."""

    sqlstate = "57P03"
    retryable = True


class ScatterFailed(BackendError):
    """Not every shard answered."""

    sqlstate = "08006"


class CommitError(ShardRouterError):
    """The transaction did not commit plainly."""

    sqlstate = "08007"


class CommitInDoubt(CommitError):
    """The outcome of the commit is not known yet."""


class TransactionAborted(CommitError):
    """The transaction was rolled back on every shard."""

    sqlstate = "40000"
    retryable = True


class ProtocolError(ShardRouterError):
    """The messages do not follow the protocol."""

    sqlstate = "08P01"


class ClientProtocolError(ProtocolError):
    """The client's messages do not follow the protocol."""


class BackendProtocolError(ProtocolError, BackendError):
    """The node's messages do not follow the protocol."""


class StatementRefused(ShardRouterError):
    """The proxy does not run this statement."""

    sqlstate = "0A000"

    def __init__(
        self,
        message: str | None = None,
        *,
        sqlstate: str | None = None,
        hint: str | None = None,
        shard: str | None = None,
        node: str | None = None,
        epoch: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint, shard=shard, node=node, epoch=epoch)
        self.sqlstate = sqlstate or type(self).sqlstate


class SettingRefused(StatementRefused):
    """A setting of the proxy has no such value."""

    sqlstate = "22023"


class QueryCanceled(StatementRefused):
    """canceling statement due to user request"""

    sqlstate = "57014"


class LoginRefused(ShardRouterError):
    """The login was refused."""

    sqlstate = "28000"

    def __init__(
        self,
        message: str | None = None,
        *,
        sqlstate: str = "28000",
        reason: str = "protocol",
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.sqlstate = sqlstate
        self.reason = reason
        """For the metrics: credentials, rule, timeout, limit, throttle, protocol or tls."""


class ConnectionLost(ShardRouterError):
    """The client closed the connection."""

    sqlstate = "08006"


class ControlLost(ShardRouterError):
    """Another process of the proxy does not answer."""

    sqlstate = "57P03"
    retryable = True


class AdminError(ShardRouterError):
    """The admin command cannot be carried out."""

    sqlstate = "55000"


class AdminSyntaxError(AdminError):
    """This is not an admin command."""

    sqlstate = "42601"


class AdminDenied(AdminError):
    """Only admin users may do that."""

    sqlstate = "42501"


class NoSuchClient(AdminError):
    """There is no such client."""

    sqlstate = "42704"


class RouterClosed(ShardRouterError):
    """The router is closed."""

    sqlstate = "08003"


class IdError(ShardRouterError):
    """No id could be made."""

    sqlstate = "55000"
    retryable = True
