"""Errors of the proxy: of the protocol, of clients, of admin users."""

from shardrouter.errors.backend import BackendError
from shardrouter.errors.root import ShardRouterError


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
