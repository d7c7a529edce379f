"""How commands reach the catalog, and under which name they change it."""

import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from shardrouter.catalog import CatalogStore, catalog_engine
from shardrouter.config import CatalogSettings, Settings, load_settings

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="settings file; default: $SHARDROUTER_CONFIG, else shardrouter.toml",
        show_default=False,
    ),
]
ReasonOption = Annotated[
    str | None, typer.Option("--reason", help="why, for the history", show_default=False)
]


@contextmanager
def open_store(config: Path | None) -> Iterator[tuple[CatalogStore, Settings]]:
    """Open the catalog that the settings name. Raises SettingsError, CatalogUnavailable."""
    settings = load_settings(config)
    with store_of(settings.catalog) as store:
        store.check()
        yield store, settings


@contextmanager
def store_of(catalog: CatalogSettings) -> Iterator[CatalogStore]:
    """Open a catalog that may not be installed yet."""
    engine = catalog_engine(
        catalog.dsn, catalog.connect_timeout_seconds, catalog.statement_timeout_seconds
    )
    store = CatalogStore(engine)
    try:
        yield store
    finally:
        store.close()


def actor() -> str:
    """Return who changes the fleet: ``user@machine``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a numeric uid without a name, as in containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
