"""A router's heartbeat and its question for the topology: one journey to the catalog each.

Writers may wait for a router's answer to a cutover, and in a busy process every journey costs a
turn at the interpreter's lock. So they run without BEGIN and COMMIT of their own, and a heartbeat
sends its statements in one message: Postgres runs them as one transaction.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg.rows import TupleRow
from sqlalchemy import Connection, Engine

from shardrouter.catalog.connect import answering, not_installed
from shardrouter.catalog.current import FLEET_LOCK
from shardrouter.catalog.records import Fleet, Registration
from shardrouter.topology import Epoch

# Every statement sees what was committed before it began: the epoch is read behind the lock.
_BEAT: Final = """
SELECT pg_catalog.pg_advisory_xact_lock_shared(%(lock)s);
DELETE FROM shardrouter.routers WHERE id IN (
    SELECT id FROM shardrouter.routers
     WHERE expires_at < pg_catalog.clock_timestamp() AND id <> %(id)s
       FOR UPDATE SKIP LOCKED);
INSERT INTO shardrouter.routers (
       id, kind, name, version, epoch, drained_epoch, writers_drained_epoch, expires_at)
SELECT %(id)s, %(kind)s, %(name)s, %(version)s, %(epoch)s, %(readers)s, %(writers)s,
       pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => %(lease)s)
  FROM shardrouter.fleet WHERE fleet.id = %(fleet)s
    ON CONFLICT (id) DO UPDATE
   SET kind = excluded.kind, name = excluded.name, version = excluded.version,
       epoch = excluded.epoch, drained_epoch = excluded.drained_epoch,
       writers_drained_epoch = excluded.writers_drained_epoch,
       renewed_at = pg_catalog.clock_timestamp(), expires_at = excluded.expires_at;
SELECT id, slots, epoch, founded_at FROM shardrouter.fleet;
"""


@contextmanager
def one_journey(engine: Engine) -> Iterator[Connection]:
    """Give a connection on which every message is a transaction. Raises as ``answering``."""
    with answering(), engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


def beat(
    connection: Connection,
    me: Registration,
    epoch: Epoch,
    lease_seconds: float,
    readers: Epoch,
    writers: Epoch,
) -> Fleet:
    """Register or renew a router of the fleet ``me`` names, and return the fleet that is there.

    Prunes the routers whose lease ran out. The connection is of ``one_journey``.
    """
    values = {
        "lock": FLEET_LOCK,
        "id": me.id,
        "fleet": me.fleet,
        "kind": me.kind,
        "name": me.name,
        "version": me.version,
        "epoch": epoch,
        "readers": readers,
        "writers": writers,
        "lease": lease_seconds,
    }
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    with psycopg.ClientCursor[TupleRow](driver) as cursor:
        cursor.execute(_BEAT, values)
        while cursor.nextset():
            pass
        row = cursor.fetchone()
    if row is None:
        raise not_installed("no fleet was founded")
    return Fleet(*row)
