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
    │  ├─ SlotsHeld               writes to the slot are held for a move, and that takes too long
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
    ├─ MoveError                  operator: look at the move
    │  ├─ MoveRefused             the move cannot be done as asked
    │  ├─ UnknownMove             there is no move of that number
    │  ├─ MoveBusy                another process carries the move out
    │  ├─ MoveTakenOver           another process has taken the move over
    │  └─ MoveMismatch            the rows on both sides of a move differ
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

from shardrouter.errors.backend import (
    BackendError,
    BackendLost,
    BackendRefused,
    BackendUnreachable,
    CommitError,
    CommitInDoubt,
    LockTimeout,
    PoolTimeout,
    ReplicaTooStale,
    ScatterFailed,
    TransactionAborted,
)
from shardrouter.errors.move import (
    MoveBusy,
    MoveError,
    MoveMismatch,
    MoveRefused,
    MoveTakenOver,
    SlotsHeld,
    UnknownMove,
)
from shardrouter.errors.proxy import (
    AdminDenied,
    AdminError,
    AdminSyntaxError,
    BackendProtocolError,
    ClientProtocolError,
    ConnectionLost,
    ControlLost,
    LoginRefused,
    NoSuchClient,
    ProtocolError,
    QueryCanceled,
    SettingRefused,
    StatementRefused,
)
from shardrouter.errors.root import (
    IdError,
    RouterClosed,
    ShardRouterError,
)
from shardrouter.errors.routing import (
    CrossShardUnsupported,
    ReadOnlySession,
    ReferenceWrite,
    RoutingError,
    ShardKeyInvalid,
    ShardKeyMissing,
    ShardSwapError,
    TokenInvalid,
    WrongShardKey,
)
from shardrouter.errors.settings import (
    FleetError,
    SettingsError,
    UnsupportedSchema,
)
from shardrouter.errors.topology import (
    CatalogUnavailable,
    LeaseExpired,
    NoPrimary,
    SlotNotOwned,
    StaleEpoch,
    TopologyError,
    UnknownShard,
)

__all__ = [
    "AdminDenied",
    "AdminError",
    "AdminSyntaxError",
    "BackendError",
    "BackendLost",
    "BackendProtocolError",
    "BackendRefused",
    "BackendUnreachable",
    "CatalogUnavailable",
    "ClientProtocolError",
    "CommitError",
    "CommitInDoubt",
    "ConnectionLost",
    "ControlLost",
    "CrossShardUnsupported",
    "FleetError",
    "IdError",
    "LeaseExpired",
    "LockTimeout",
    "LoginRefused",
    "MoveBusy",
    "MoveError",
    "MoveMismatch",
    "MoveRefused",
    "MoveTakenOver",
    "NoPrimary",
    "NoSuchClient",
    "PoolTimeout",
    "ProtocolError",
    "QueryCanceled",
    "ReadOnlySession",
    "ReferenceWrite",
    "ReplicaTooStale",
    "RouterClosed",
    "RoutingError",
    "ScatterFailed",
    "SettingRefused",
    "SettingsError",
    "ShardKeyInvalid",
    "ShardKeyMissing",
    "ShardRouterError",
    "ShardSwapError",
    "SlotNotOwned",
    "SlotsHeld",
    "StaleEpoch",
    "StatementRefused",
    "TokenInvalid",
    "TopologyError",
    "TransactionAborted",
    "UnknownMove",
    "UnknownShard",
    "UnsupportedSchema",
    "WrongShardKey",
]
