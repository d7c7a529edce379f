"""Settings: one TOML file, the environment over it, flags over both. Frozen once read."""

from shardrouter.config.address import Address, parse_address
from shardrouter.config.catalog import CatalogSettings
from shardrouter.config.checks import warnings_of
from shardrouter.config.dsn import check_dsn, public_dsn
from shardrouter.config.gather import GatherSettings
from shardrouter.config.ids import IdSettings
from shardrouter.config.monitor import MonitorSettings
from shardrouter.config.pool import PoolSettings
from shardrouter.config.problems import shown_value
from shardrouter.config.proxy import ProxySettings
from shardrouter.config.proxy_auth import ProxyAuthSettings
from shardrouter.config.proxy_pool import ProxyPoolSettings
from shardrouter.config.proxy_session import ProxySessionSettings
from shardrouter.config.rebalance import RebalanceSettings
from shardrouter.config.routing import RoutingSettings
from shardrouter.config.settings import Settings
from shardrouter.config.sources import load_settings, settings_path, sources_of
from shardrouter.config.transaction import TransactionSettings

__all__ = [
    "Address",
    "CatalogSettings",
    "GatherSettings",
    "IdSettings",
    "MonitorSettings",
    "PoolSettings",
    "ProxyAuthSettings",
    "ProxyPoolSettings",
    "ProxySessionSettings",
    "ProxySettings",
    "RebalanceSettings",
    "RoutingSettings",
    "Settings",
    "TransactionSettings",
    "check_dsn",
    "load_settings",
    "parse_address",
    "public_dsn",
    "settings_path",
    "shown_value",
    "sources_of",
    "warnings_of",
]
