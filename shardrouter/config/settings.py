"""All settings together. Constructing them reads neither files nor the environment."""

from typing import Annotated, ClassVar, Final

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from shardrouter.config.catalog import CatalogSettings
from shardrouter.config.gather import GatherSettings
from shardrouter.config.ids import IdSettings
from shardrouter.config.monitor import MonitorSettings
from shardrouter.config.pool import PoolSettings
from shardrouter.config.proxy import ProxySettings
from shardrouter.config.proxy_auth import ProxyAuthSettings
from shardrouter.config.proxy_pool import ProxyPoolSettings
from shardrouter.config.proxy_session import ProxySessionSettings
from shardrouter.config.rebalance import RebalanceSettings
from shardrouter.config.routing import RoutingSettings
from shardrouter.config.transaction import TransactionSettings

ENV_PREFIX: Final = "SHARDROUTER__"
ENV_DELIMITER: Final = "__"


class Settings(BaseSettings):
    """The settings of one process. Made by ``load_settings``; frozen."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        env_ignore_empty=True,
        env_parse_none_str="none",
        title="shardrouter settings",
    )

    catalog: Annotated[CatalogSettings, Field(default_factory=CatalogSettings)]
    routing: Annotated[RoutingSettings, Field(default_factory=RoutingSettings)]
    pool: Annotated[PoolSettings, Field(default_factory=PoolSettings)]
    monitor: Annotated[MonitorSettings, Field(default_factory=MonitorSettings)]
    transaction: Annotated[TransactionSettings, Field(default_factory=TransactionSettings)]
    ids: Annotated[IdSettings, Field(default_factory=IdSettings)]
    rebalance: Annotated[RebalanceSettings, Field(default_factory=RebalanceSettings)]
    gather: Annotated[GatherSettings, Field(default_factory=GatherSettings)]
    proxy: Annotated[ProxySettings, Field(default_factory=ProxySettings)]
    proxy_auth: Annotated[ProxyAuthSettings, Field(default_factory=ProxyAuthSettings)]
    proxy_pool: Annotated[ProxyPoolSettings, Field(default_factory=ProxyPoolSettings)]
    proxy_session: Annotated[ProxySessionSettings, Field(default_factory=ProxySessionSettings)]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the constructor only: ``sources`` reads file and environment."""
        return (init_settings,)
