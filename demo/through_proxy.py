"""Start the proxy before the fleet and talk to it with psql and with many clients at once."""

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from demo.fleet import BACKENDS, DemoFleet
from demo.report import Mismatch, Report
from demo.trespass import psql_beside
from shardrouter import Router
from shardrouter.errors import FleetError
from shardrouter.local import HOST, SUPERUSER

CLIENTS: Final = 50
READS: Final = 20  # of each client
_START_SECONDS: Final = 30.0
_WAIT_SECONDS: Final = 20.0
_CONNECT_SECONDS: Final = 10
_POLL_SECONDS: Final = 0.02
_LISTENS: Final = re.compile(r"proxy_listens address=\S+:(\d+)")
_BACKENDS_OF_US: Final = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE backend_type = 'client backend' AND application_name = 'demo'"
)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy and how clients reach it."""

    port: int

    def dsn(self, shard: str | None = None) -> str:
        """Return a connection string; of a session on a shard when one is named."""
        return make_conninfo(
            host=HOST,
            port=self.port,
            user=SUPERUSER,
            dbname="app",
            options=f"-c shardrouter.shard={shard}" if shard else "",
            connect_timeout=_CONNECT_SECONDS,
        )


def check_proxy(report: Report, router: Router, proxy: Proxy, tailnums: Sequence[str]) -> None:
    """Talk through the proxy as programs of any language do."""
    report.section("Any Postgres client, through the proxy")
    _talk_with_psql(report, router, proxy, tailnums[0])
    _read_at_once(report, router, proxy, tailnums)


def _talk_with_psql(report: Report, router: Router, proxy: Proxy, tailnum: str) -> None:
    shard = router.shard_of(tailnum)
    statement = f"SELECT tailnum, manufacturer, model FROM planes WHERE tailnum = '{tailnum}'"
    answers = [
        _psql(router, dsn, statement)
        for dsn in (proxy.dsn(shard.id), router.topology.shard(shard.id).primary.dsn)
    ]
    report.say(f'$ psql "host={HOST} port={proxy.port} options=-cshardrouter.shard={shard.id}"')
    report.say(f"app=# {statement};")
    report.say(answers[0].rstrip())
    if answers[0] != answers[1]:
        raise Mismatch(f"psql read {answers[0]!r} through the proxy, {answers[1]!r} without it")


def _psql(router: Router, dsn: str, statement: str) -> str:
    program = psql_beside(router.topology.shards[0].primary.dsn)
    done = subprocess.run(
        [program, "-X", "-d", dsn, "-c", statement],
        capture_output=True,
        text=True,
        timeout=_WAIT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise Mismatch(f"psql failed through the proxy: {done.stderr.strip()}")
    return done.stdout


def _read_at_once(report: Report, router: Router, proxy: Proxy, tailnums: Sequence[str]) -> None:
    shard = router.topology.shards[0].id
    mine = [number for number in tailnums if router.shard_of(number).id == shard][:READS]
    with report.timed() as watch:
        wrong = asyncio.run(_all_clients(proxy.dsn(shard), mine))
    with psycopg.connect(router.topology.shard(shard).primary.dsn) as connection:
        row = connection.execute(_BACKENDS_OF_US).fetchone()
    backends = row[0] if row else 0
    report.say(
        f"{CLIENTS} clients at once, {CLIENTS * len(mine):,} reads over {backends} backends,"
        f" in {watch.text}; wrong answers: {wrong}"
    )
    if wrong or not 0 < backends <= BACKENDS:
        raise Mismatch(f"{wrong} wrong answers, {backends} backends where {BACKENDS} are allowed")


async def _all_clients(dsn: str, tailnums: Sequence[str]) -> int:
    counts = await asyncio.gather(*(_client(dsn, tailnums) for _ in range(CLIENTS)))
    return sum(counts)


async def _client(dsn: str, tailnums: Sequence[str]) -> int:
    wrong = 0
    async with await psycopg.AsyncConnection.connect(
        dsn, autocommit=True, application_name="demo"
    ) as connection:
        for tailnum in tailnums:
            cursor = await connection.execute(
                "SELECT tailnum FROM planes WHERE tailnum = %s", [tailnum]
            )
            wrong += await cursor.fetchall() != [(tailnum,)]
    return wrong


@contextmanager
def running_proxy(fleet: DemoFleet) -> Iterator[Proxy]:
    """Run a proxy of one worker before the fleet. Raises FleetError when it does not start."""
    log_path = fleet.settings.with_name("proxy.log")
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "shardrouter.proxy", "--config", str(fleet.settings)],
            stdout=log,
            stderr=log,
        )
    try:
        yield Proxy(_port_when_it_serves(process, log_path))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_WAIT_SECONDS)


def _port_when_it_serves(process: "subprocess.Popen[bytes]", log: Path) -> int:
    """Wait until the log says that clients are served, and where. Raises FleetError."""
    deadline = time.monotonic() + _START_SECONDS
    while "proxy_serves" not in (said := log.read_text()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise FleetError(
                f"the proxy did not start: {said.strip().splitlines()[-1:]}",
                hint="`shardrouter proxy` tells more",
            )
        time.sleep(_POLL_SECONDS)
    found = _LISTENS.search(said)
    if found is None:
        raise FleetError("the proxy does not say where it listens")
    return int(found[1])
