"""Hear of published topologies by LISTEN. Only makes the keeper ask sooner: polling is the net."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import psycopg
from psycopg import sql

from shardrouter.catalog import CHANNEL, connect_options
from shardrouter.config import CatalogSettings

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 10.0


async def listen_for_changes(settings: CatalogSettings, hear: Callable[[int | None], None]) -> None:
    """Call ``hear`` with the new epoch after each publish, until cancelled.

    A connection that breaks is made again, with growing pauses; ``hear(None)`` is called then, for
    what was published in between.
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            async with await _connect(settings) as connection:
                async with asyncio.timeout(settings.statement_timeout_seconds):
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
                pause = FIRST_PAUSE_SECONDS
                hear(None)
                async for heard in connection.notifies():
                    hear(int(heard.payload) if heard.payload.isdecimal() else None)
        except (psycopg.Error, OSError) as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            logger.info("catalog_listener_lost again_in_seconds=%.1f %s", pause, said)
        await asyncio.sleep(pause)
        pause = min(LONGEST_PAUSE_SECONDS, pause * 2)


async def _connect(settings: CatalogSettings) -> psycopg.AsyncConnection[Any]:
    options = connect_options(
        settings.dsn, settings.connect_timeout_seconds, settings.statement_timeout_seconds
    )
    return await psycopg.AsyncConnection.connect(
        settings.dsn, autocommit=True, **{**options, "application_name": "shardrouter-listener"}
    )
