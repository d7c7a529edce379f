"""What the suite stands on: one shard with pgbench's tables, and the ways to it.

The proxies, one worker each, have the first CPU; Postgres and whatever makes the load share the
others. That is the same for each proxy and keeps their costs apart from anybody else's caches. A
way without a proxy gets the first CPU for its client, so that it has as many as the others.
Where all share all CPUs, what a proxy takes is lost to the server.
"""

import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

from psycopg import sql

from benchmarks.cpus import Cpus
from benchmarks.library.stage import publish
from benchmarks.machine import build_name
from benchmarks.proxy.doors import DATABASE, DIRECT, HOST, OURS, PEER, PURE, USER, Door
from benchmarks.proxy.ours import our_door
from benchmarks.proxy.peer import INSTALL, is_installed, peer_door
from benchmarks.proxy.pgbench import find_pgbench, pgbench_environment
from benchmarks.proxy.scram_keys import ScramKeys
from shardrouter.local import LocalFleet
from shardrouter.local.ports import free_ports

BACKENDS_MAX: Final = 800
"""Of the server: session pooling of 512 clients, and the pools of all proxies."""

LOGIN_USER: Final = "bench_login"
FILL_TIMEOUT_SECONDS: Final = 120
SHARD: Final = "s0"


@dataclass(frozen=True, slots=True)
class ProxyStage:
    """A running server, and what is needed to open doors to it."""

    fleet: LocalFleet
    directory: Path
    cpus: Cpus
    login_keys: ScramKeys
    _catalog_dsn: str
    _random: SystemRandom = field(default_factory=SystemRandom)

    @property
    def proxies(self) -> list[str]:
        """Return the names of the proxies that can be measured here."""
        found = [PEER] if is_installed() else []
        return [*found, OURS, *([PURE] if build_name() == "compiled" else [])]

    @property
    def direct(self) -> Door:
        """Return the server itself as a door."""
        return Door(DIRECT, self.fleet.primary(SHARD).port)

    @contextmanager
    def open(self, name: str) -> Iterator[Door]:
        """Start one proxy for the block."""
        port = free_ports(1, self._random)[0]
        logins = {LOGIN_USER: self.login_keys}
        if name == PEER:
            opening = peer_door(self.directory, port, self.direct.port, logins)
        else:
            opening = our_door(name, self.directory, port, self._catalog_dsn, logins)
        with ExitStack() as stack:
            with self.cpus.program_runs():  # the processes keep to the CPUs they start on
                door = stack.enter_context(opening)
            yield door

    @contextmanager
    def open_all(self) -> Iterator[dict[str, Door]]:
        """Start every proxy for the block; the one that is not measured idles."""
        with ExitStack() as stack:
            yield {name: stack.enter_context(self.open(name)) for name in self.proxies}

    def load_for(self, door: Door) -> AbstractContextManager[None]:
        """The block is the client of a door, on the CPUs that are meant for it."""
        return self.cpus.load_runs() if door.pids else self.cpus.program_runs()

    def execute(self, statements: Sequence[str]) -> None:
        """Run statements on the server."""
        with self.fleet.primary(SHARD).connect(DATABASE) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def scalar(self, query: str) -> Any:
        """Return one value from the server."""
        with self.fleet.primary(SHARD).connect(DATABASE) as connection:
            row = connection.execute(query.encode()).fetchone()
        return None if row is None else row[0]


@contextmanager
def open_stage(*, has_own_cpu: bool = True) -> Iterator[ProxyStage]:
    """Start the server for the block and fill it. Proxies keep a CPU if ``has_own_cpu``."""
    if not is_installed():
        print(INSTALL, file=sys.stderr)
    files_max()
    cpus = Cpus(has_own_cpu)
    with cpus.servers_start():
        fleet = LocalFleet.temporary(shards=1, replicas=0)
        try:
            _allow_many(fleet)
        except BaseException:
            fleet.destroy()
            raise
    try:
        with tempfile.TemporaryDirectory(prefix="shardrouter-bench-") as name:
            directory = Path(name)
            directory.chmod(0o755)  # PgBouncer may run as another user
            settings = directory / "published.toml"
            publish(fleet, fleet.topology(), settings)
            keys = ScramKeys.of("a password", b"sixteen bytes ok")
            stage = ProxyStage(fleet, directory, cpus, keys, fleet.catalog.dsn("catalog"))
            _fill(stage)
            yield stage
    finally:
        fleet.destroy()


def files_max() -> int:
    """Allow this process and its children as many open files as the system lets, and say so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft if hard == resource.RLIM_INFINITY else hard


def _allow_many(fleet: LocalFleet) -> None:
    server = fleet.primary(SHARD)
    with server.connect() as connection:
        many = sql.Literal(BACKENDS_MAX)
        connection.execute(sql.SQL("ALTER SYSTEM SET max_connections = {}").format(many))
    server.stop()
    server.start()


def _fill(stage: ProxyStage) -> None:
    """Make pgbench's tables at scale 1, which are in memory whole, and the user that logs in."""
    program = find_pgbench(stage.fleet)
    done = subprocess.run(
        [program, "-i", "-q", "-h", HOST, "-p", str(stage.direct.port), "-U", USER, DATABASE],
        env=pgbench_environment(),
        capture_output=True,
        text=True,
        timeout=FILL_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"pgbench -i failed: {done.stderr}")
    stage.execute([f"CREATE ROLE {LOGIN_USER} LOGIN PASSWORD '{stage.login_keys.verifier}'"])
