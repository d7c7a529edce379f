"""One Postgres server of a local fleet: make, start, stop, kill, freeze."""

import random
import signal
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from shardrouter.errors import FleetError
from shardrouter.local.binaries import Binaries
from shardrouter.local.os_user import OsUser
from shardrouter.local.ports import HOST, free_ports
from shardrouter.local.processes import (
    kill_all,
    postmaster_of,
    processes_of,
    send,
    wait_gone,
    wait_until,
)
from shardrouter.local.server_settings import FILE_NAME, replication_slot_of, settings_text
from shardrouter.local.shared_memory import remove_segment
from shardrouter.topology import NodeId, Role, ShardId

SUPERUSER: Final = "postgres"
LOGS: Final = "logs"  # directory beside the data directories
START_TIMEOUT_SECONDS: Final = 60.0
STOP_TIMEOUT_SECONDS: Final = 20.0
_MAKE_TIMEOUT_SECONDS: Final = 120.0  # initdb and pg_basebackup on a slow disk with fsync
_KILL_TIMEOUT_SECONDS: Final = 10.0
_CONNECT_TIMEOUT_SECONDS: Final = 10
_PORT_ATTEMPTS: Final = 5
_LOG_TAIL_CHARACTERS: Final = 600


class StopMode(Enum):
    """How a server is told to stop, as in ``pg_ctl stop -m``."""

    SMART = signal.SIGTERM
    FAST = signal.SIGINT
    IMMEDIATE = signal.SIGQUIT


class LocalServer:
    """A Postgres server on 127.0.0.1 with its data directory.

    Not safe to start and stop from several threads at once; everything else is.
    """

    def __init__(
        self,
        id: NodeId,
        shard_id: ShardId | None,
        role: Role,
        place: Path,
        *,
        binaries: Binaries,
        user: OsUser,
        port: int,
        fsync: bool,
        primary: "LocalServer | None" = None,
    ) -> None:
        self.id = id
        self.shard_id = shard_id
        self.role = role
        self.host = HOST
        self.port = port
        self.data = place / id
        self.log = place / LOGS / f"{id}.log"
        self.fsync = fsync
        self.primary = primary
        self._binaries = binaries
        self._user = user

    def __repr__(self) -> str:
        return f"LocalServer({self.id!r}, port={self.port}, data={str(self.data)!r})"

    @property
    def database(self) -> str:
        """The database a new fleet makes on this server."""
        return "app" if self.shard_id else "catalog"

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, or None when it does not run."""
        return postmaster_of(self.data)

    def dsn(self, database: str | None = None) -> str:
        """Return a connection URL, by default to the database the fleet made."""
        name = quote(database or self.database, safe="")
        return f"postgresql://{SUPERUSER}@{self.host}:{self.port}/{name}"

    def connect(self, database: str | None = None, **options: Any) -> psycopg.Connection[TupleRow]:
        """Open an autocommit connection. Raises psycopg.OperationalError."""
        settings = {
            "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
            "sslmode": "disable",
            "gssencmode": "disable",
            "application_name": "shardrouter-local",
            **options,
        }
        return psycopg.connect(self.dsn(database), autocommit=True, **settings)

    def is_running(self) -> bool:
        """True while the postmaster lives, also when it is frozen."""
        return self.pid is not None

    def make(self) -> None:
        """Make the data directory: initdb, or for a replica a base backup of its primary.

        Raises FleetError with the program's own words.
        """
        self._user.make_directory(self.data)
        if self.primary is None:
            self._run(
                "initdb",
                *("-D", self.data, "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--no-locale"),
                *("--no-instructions", "--wal-segsize=1"),
                *(() if self.fsync else ("--no-sync",)),
            )
            conf = self.data / "postgresql.conf"
            self._user.write(conf, f"{conf.read_text()}\ninclude '{FILE_NAME}'\n")
            return
        self._run(
            "pg_basebackup",
            *("-d", f"host={HOST} port={self.primary.port} user={SUPERUSER} sslmode=disable"),
            *("-D", self.data, "-X", "stream", "-c", "fast"),
            *("-C", "-S", replication_slot_of(self.id)),
            *(() if self.fsync else ("--no-sync",)),
        )
        self._user.write(self.data / "standby.signal", "")

    def make_database(self) -> None:
        """Make the fleet's database on a new primary."""
        with self.connect("postgres") as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self.database)))

    def start(self) -> None:
        """Start the server and wait until it answers; no effect when it runs.

        Takes another port when its own was taken meanwhile. Raises FleetError with the log's end.
        """
        if self.is_running():
            self.thaw()
            self.reload_settings()
            return
        self._clear_crash()
        for _ in range(_PORT_ATTEMPTS):
            self._user.write(self.data / FILE_NAME, self._settings())
            seen = self.log.stat().st_size if self.log.exists() else 0
            done = self._user.run(self._start_command(), START_TIMEOUT_SECONDS + 5)
            if done.returncode == 0:
                return
            with self.log.open(errors="replace") as log:
                log.seek(seen)
                told = log.read()
            if "could not create any TCP/IP sockets" not in told:
                raise FleetError(
                    f"Postgres did not start: {told[-_LOG_TAIL_CHARACTERS:].strip()}",
                    node=self.id,
                    hint=f"the whole log is {self.log}",
                )
            self.port = free_ports(1, random.SystemRandom())[0]
        raise FleetError(
            f"no free port was found in {_PORT_ATTEMPTS} attempts",
            node=self.id,
            hint="see who listens with `ss -ltn`, then try again",
        )

    def reload_settings(self) -> None:
        """Give a running server its settings anew, for example its primary's new port."""
        if (self.data / FILE_NAME).read_text() != self._settings():
            self._user.write(self.data / FILE_NAME, self._settings())
            send([pid for pid in [self.pid] if pid], signal.SIGHUP)

    def stop(self, mode: StopMode = StopMode.FAST, timeout_seconds: float | None = None) -> None:
        """Stop the server and wait until its last process is gone; kill it when it will not.

        Raises FleetError when even that does not help.
        """
        self.thaw()
        pid = self.pid
        if pid is not None:
            send([pid], mode.value)
            if wait_gone(self.data, timeout_seconds or STOP_TIMEOUT_SECONDS):
                return
        self.kill()

    def kill(self) -> None:
        """``kill -9`` the postmaster, then its children, and wait until all are gone."""
        pid = self.pid
        if pid is not None:
            send([pid], signal.SIGKILL)
        if not kill_all(self.data, _KILL_TIMEOUT_SECONDS):
            raise FleetError(
                f"processes {processes_of(self.data)} do not end",
                node=self.id,
                hint="they hang in the kernel: look at the disk, and at `dmesg`",
            )

    def freeze(self) -> None:
        """SIGSTOP every process of the server: connections hang instead of failing."""
        pid = self.pid
        if pid is not None:  # first the one that makes new processes
            send([pid], signal.SIGSTOP)
            send(processes_of(self.data), signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT every process of the server."""
        send(processes_of(self.data), signal.SIGCONT)

    def wait_for(self, is_done: Callable[[psycopg.Connection[TupleRow]], bool], what: str) -> None:
        """Poll a condition on one connection. Raises FleetError naming ``what`` was awaited."""
        with self.connect(self.database) as connection:
            if not wait_until(lambda: is_done(connection), START_TIMEOUT_SECONDS):
                raise FleetError(
                    f"waited {START_TIMEOUT_SECONDS:g} s in vain for {what}",
                    node=self.id,
                    hint=f"the log is {self.log}",
                )

    def is_standby(self) -> bool:
        """True when the data directory is a replica's; a promotion ends that."""
        return (self.data / "standby.signal").exists()

    def wait_streaming(self) -> None:
        """Wait until this replica receives its primary's changes. Raises FleetError."""
        self.wait_for(_is_streaming, "the stream from the primary")

    def _settings(self) -> str:
        return settings_text(
            self.id,
            self.port,
            is_catalog=self.shard_id is None,
            fsync=self.fsync,
            major=self._binaries.major,
            primary_port=self.primary.port if self.primary else None,
            replication_slot=replication_slot_of(self.id) if self.primary else None,
        )

    def _start_command(self) -> list[str | Path]:
        wait = ("-w", "-t", f"{START_TIMEOUT_SECONDS:.0f}", "-s")
        pg_ctl = self._binaries.program("pg_ctl")
        return [pg_ctl, "-D", self.data, *wait, "-l", self.log, "start"]

    def _clear_crash(self) -> None:
        """Remove a stale postmaster.pid: its number may be another process by now.

        Invariant: nobody works in the data directory any more, orphans of a crash included.
        """
        if processes_of(self.data):
            self.kill()
        remove_segment(self.data)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [self._binaries.program(program), *arguments]
        done = self._user.run(command, _MAKE_TIMEOUT_SECONDS)
        if done.returncode != 0:
            raise FleetError(
                f"{program} failed: {done.stdout[-_LOG_TAIL_CHARACTERS:].strip()}",
                node=self.id,
                hint=f"is there room on the disk of {self.data.parent}? (`df -h`)",
            )


def _is_streaming(connection: psycopg.Connection[TupleRow]) -> bool:
    row = connection.execute("SELECT status FROM pg_stat_wal_receiver").fetchone()
    return row is not None and row[0] == "streaming"
