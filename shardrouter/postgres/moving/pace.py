"""Have a first copy rest, which Postgres carries out by itself as fast as it can read.

A trigger on the tables that it fills asks now and then, within the session that copies, whether
to rest, or to nap each time; whoever carries the move out writes that down, and until when it
holds. It fires for replicated rows only. Crash: what was written down is over soon, and the copy
goes on at full speed without us.
"""

from typing import Final

from psycopg.sql import Identifier
from sqlalchemy import Connection, text

from shardrouter.postgres.guard_sql import table_sql
from shardrouter.postgres.verbatim import run_verbatim
from shardrouter.topology import Table

PACE_TABLE_SQL: Final = """CREATE TABLE IF NOT EXISTS shardrouter.move_pace (
    move bigint PRIMARY KEY,
    rest_until timestamptz NOT NULL,
    nap_seconds double precision NOT NULL,
    nap_until timestamptz NOT NULL
)"""

ROWS_BETWEEN: Final = 256
"""Rows between two questions, on average. A power of two: its inverse is exact."""

HOLDS_SECONDS: Final = 2.0
"""So long a nap is taken at every question; it must be told again before."""

_LOOK_SECONDS: Final = 0.05  # a rest may be cut short


def pace_trigger_name(move: int) -> str:
    """Return the trigger's name."""
    return f"zzy_shardrouter_move_{move:d}_pace"


def pace_sql(table: Table, move: int) -> tuple[str, str]:
    """Return the statements that make the trigger on a table that receives rows, and turn it on."""
    trigger = Identifier(pace_trigger_name(move)).as_string(None)
    name = table_sql(table)
    now_and_then = f"WHEN (pg_catalog.random() < {1 / ROWS_BETWEEN})"
    event = f"BEFORE INSERT ON {name} FOR EACH ROW {now_and_then}"
    function = f"shardrouter.pace_move('{move:d}')"
    return (
        f"CREATE OR REPLACE TRIGGER {trigger} {event} EXECUTE FUNCTION {function}",
        f"ALTER TABLE {name} ENABLE REPLICA TRIGGER {trigger}",
    )


def install_pace(connection: Connection, table: Table, move: int) -> None:
    """Make the trigger, in the caller's transaction, which has the table locked."""
    connection.execute(_OURS)
    for statement in pace_sql(table, move):
        run_verbatim(connection, statement)


def rest(connection: Connection, move: int, seconds: float, nap_seconds: float = 0.0) -> None:
    """Have the move's first copy rest for so long from now, and then nap at every question.

    In the caller's transaction. Postgres sleeps for whole milliseconds.
    """
    given = {"seconds": seconds, "nap": nap_seconds, "holds": seconds + HOLDS_SECONDS}
    connection.execute(_REST, {"move": move, **given})


# The rows come as the tables' owner or as the subscription's, who may have no right to ours.
PACE_FUNCTION_SQL: Final = f"""
CREATE OR REPLACE FUNCTION shardrouter.pace_move() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $move$
DECLARE
  seconds float8;
  nap float8;
BEGIN
  LOOP
    SELECT extract(epoch FROM rest_until - clock_timestamp()),
           CASE WHEN clock_timestamp() < nap_until THEN nap_seconds ELSE 0 END
      INTO seconds, nap
      FROM shardrouter.move_pace WHERE move = TG_ARGV[0]::bigint;
    EXIT WHEN seconds IS NULL OR seconds <= 0;
    PERFORM pg_sleep(least(seconds, {_LOOK_SECONDS}));
  END LOOP;
  IF nap > 0 THEN
    PERFORM pg_sleep(nap);
  END IF;
  RETURN NEW;
END $move$
"""

_OURS: Final = text("SELECT pg_catalog.set_config('shardrouter.makes_triggers', 'on', true)")
"""Else another move's lock of the schema would refuse ALTER TABLE."""

_REST: Final = text(
    """
WITH lazily AS (SELECT pg_catalog.set_config('synchronous_commit', 'off', true) AS done)
INSERT INTO shardrouter.move_pace AS standing (move, rest_until, nap_seconds, nap_until)
SELECT :move, now + pg_catalog.make_interval(secs => :seconds), :nap,
       now + pg_catalog.make_interval(secs => :holds)
  FROM lazily, pg_catalog.clock_timestamp() AS now WHERE done IS NOT NULL
ON CONFLICT (move) DO UPDATE
   SET rest_until = excluded.rest_until, nap_seconds = excluded.nap_seconds,
       nap_until = excluded.nap_until
"""
)
