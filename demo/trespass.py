"""Write a row on the wrong shard behind the router's back, with psql: the guard must refuse."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from sqlalchemy import select

from demo.models import Plane
from demo.report import Mismatch, Report
from shardrouter import Router
from shardrouter.errors import FleetError

_WAIT_SECONDS: Final = 20.0
_DETAILS: Final = ("DETAIL:", "CONTEXT:", "SCHEMA NAME:", "TABLE NAME:", "LOCATION:")  # not shown


@dataclass(frozen=True, slots=True)
class Refusal:
    """What psql said."""

    statement: str
    message: str
    is_by_guard: bool


def trespass(dsn: str, tailnum: str) -> Refusal:
    """Insert a log entry of ``tailnum`` on the server of ``dsn``, which does not own it."""
    statement = f"INSERT INTO log_entries VALUES ('{tailnum}', 1, 'written by psql')"
    done = subprocess.run(
        [psql_beside(dsn), "-X", "-v", "VERBOSITY=verbose", "-d", dsn, "-c", statement],
        capture_output=True,
        text=True,
        timeout=_WAIT_SECONDS,
        check=False,
    )
    is_by_guard = done.returncode != 0 and "SR001" in done.stderr
    said = (done.stderr or done.stdout).splitlines()
    shown = [line for line in said if not line.startswith(_DETAILS)]
    return Refusal(statement, "\n".join(shown), is_by_guard)


def psql_beside(dsn: str) -> str:
    """Return the psql beside the server's own programs, else the one on PATH."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT setting FROM pg_config WHERE name = 'BINDIR'").fetchone()
    beside = Path(row[0] if row else "") / "psql"
    found = str(beside) if beside.exists() else shutil.which("psql")
    if found is None:
        raise FleetError(
            f"there is no psql in {beside.parent} or on PATH",
            hint="`apt-get install postgresql-client`, or pip install 'shardrouter[embedded]'",
        )
    return found


def check_guard(report: Report, router: Router, tailnum: str) -> None:
    """Bypass the router with psql."""
    report.section("A row on the wrong shard is refused by the shard itself")
    owner = router.shard_of(tailnum)
    other = next(shard for shard in router.topology.shards if shard.id != owner.id)
    refusal = trespass(other.primary.dsn, tailnum)
    report.say(f"plane {tailnum} lives on {owner.id}; psql on {other.id}:")
    report.say(f"{other.id}=# {refusal.statement};")
    report.say(refusal.message)
    if not refusal.is_by_guard:
        raise Mismatch(f"{other.id} took a row of {owner.id}, or refused it without SR001")
    with router.session(shard=other.id, read="primary") as session:
        if session.scalar(select(Plane.tailnum).where(Plane.tailnum == tailnum)):
            raise Mismatch(f"plane {tailnum} stands on {other.id}")
