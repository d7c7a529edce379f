"""Errors an operator mends: the file, the command, the catalog, a table."""

from shardrouter.errors.root import ShardRouterError


class SettingsError(ShardRouterError):
    """The settings are not valid."""

    sqlstate = "F0000"


class FleetError(SettingsError):
    """The local fleet could not do that."""

    sqlstate = "58000"


class UnsupportedSchema(SettingsError):
    """The table cannot be sharded as it is declared."""

    sqlstate = "0A000"
