"""Install and upgrade the catalog's tables: alembic's revisions, in one transaction, one at a time.

Revisions are numbered files ``rNNNN_name.py``; the last number is the head. So a process can tell
whether the catalog is older or newer than itself without loading alembic.
"""

import threading
import time
from importlib.metadata import version
from importlib.resources import files
from typing import Final

from sqlalchemy import Connection, Engine, column, func, inspect, select, table
from sqlalchemy.schema import CreateSchema

from shardrouter.catalog.connect import answering, not_installed
from shardrouter.catalog.schema import SCHEMA, VERSION_TABLE
from shardrouter.errors import CatalogUnavailable, SettingsError

INSTALL_LOCK: Final = 0x5368_6172_6401  # "Shard" 1: advisory lock of whoever installs
INSTALL_WAIT_SECONDS: Final = 30.0
_ASK_AGAIN_SECONDS: Final = 0.05

# alembic keeps the running environment in module globals.
_one_at_a_time: Final = threading.Lock()


def known_revisions() -> list[str]:
    """Return the revisions this shardrouter ships, oldest first."""
    names = (item.name for item in files("shardrouter.migrations.versions").iterdir())
    return sorted({n[1:5] for n in names if n[0] == "r" and n[1:5].isdigit()})


def revision_of(connection: Connection) -> str | None:
    """Return the revision the catalog is at, or None when none is installed."""
    if not inspect(connection).has_table(VERSION_TABLE, schema=SCHEMA):
        return None
    versions = table(VERSION_TABLE, column("version_num"), schema=SCHEMA)
    return connection.scalar(select(versions.c.version_num))


def installed_revision(engine: Engine) -> str | None:
    """Return the revision the catalog is at, or None when none is installed.

    Raises SettingsError for one that is newer than this shardrouter, CatalogUnavailable.
    """
    with answering(), engine.connect() as connection:
        found = revision_of(connection)
    head = known_revisions()[-1]
    if found is not None and found > head:
        raise _newer(found, head)
    return found


def check_schema(connection: Connection) -> None:
    """Raise SettingsError unless the catalog's tables are those this shardrouter knows."""
    found, head = revision_of(connection), known_revisions()[-1]
    if found is None:
        raise not_installed(f"schema {SCHEMA} has no {VERSION_TABLE}")
    if found > head:
        raise _newer(found, head)
    if found < head:
        raise SettingsError(
            f"the catalog is at revision {found}, this shardrouter needs {head}",
            hint="upgrade it with `shardrouter init`; run it before the new version is rolled out",
        )


def install(engine: Engine) -> str:
    """Bring the catalog to the newest revision and return it. Does nothing when it is there.

    Safe to run from several processes at once. Raises SettingsError when the catalog is newer
    than this shardrouter, CatalogUnavailable when it does not answer or another process has been
    installing for 30 seconds.
    """
    head = known_revisions()[-1]
    with answering(), _one_at_a_time, engine.connect() as connection:
        found = revision_of(connection)
        if found is not None and found > head:
            raise _newer(found, head)
        if found != head:
            _wait_for_turn(connection)
            _upgrade(connection)
            connection.commit()
    return head


def _wait_for_turn(connection: Connection) -> None:
    deadline = time.monotonic() + INSTALL_WAIT_SECONDS
    while not connection.scalar(select(func.pg_try_advisory_xact_lock(INSTALL_LOCK))):
        if time.monotonic() >= deadline:
            raise CatalogUnavailable(
                f"another process has been installing the catalog for {INSTALL_WAIT_SECONDS:g} s",
                hint="look for it in pg_stat_activity of the catalog database",
            )
        time.sleep(_ASK_AGAIN_SECONDS)


def _upgrade(connection: Connection) -> None:
    """Run alembic on the connection, inside its transaction."""
    from alembic import command  # loaded here: routers never need it, and it takes 0.1 s
    from alembic.config import Config

    if not inspect(connection).has_schema(SCHEMA):
        connection.execute(CreateSchema(SCHEMA))
    config = Config()
    config.set_main_option("script_location", str(files("shardrouter.migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _newer(found: str, head: str) -> SettingsError:
    return SettingsError(
        f"the catalog is at revision {found}; shardrouter {version('shardrouter')} knows it only"
        f" up to {head}",
        hint="upgrade shardrouter on this machine: `pip install --upgrade shardrouter`",
    )
