"""Run a service's own alembic environment over all shards, side by side.

Each shard is independent: one that fails does not hold the others back, and running the same
command again continues only where something is left, because alembic knows what it has done.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from shardrouter.control.migrate_guards import GuardSummary, install_all_guards, look_at_guards
from shardrouter.control.migrate_processes import Processes
from shardrouter.control.migrate_shard import APPLICATION_NAME, PROGRAM, Request
from shardrouter.errors import SettingsError, ShardRouterError, StaleEpoch
from shardrouter.postgres import direct_connection, sqlalchemy_url
from shardrouter.topology import Shard, ShardId, Topology

DEFAULT_TIMEOUT_SECONDS: Final = 3600.0
DEFAULT_CONCURRENCY: Final = 4
_STALE_ATTEMPTS: Final = 3
_LOG_CHARACTERS: Final = 8000
_RELATIVE: Final = re.compile(r"([^@]*@)?[+-]\d+")


class MigrationAction(StrEnum):
    UPGRADE = "upgrade"
    DOWNGRADE = "downgrade"
    STATUS = "status"


class MigrationState(StrEnum):
    OK = "ok"
    BEHIND = "behind"
    """There are revisions to apply."""

    BUSY = "busy"
    """Another migration runs there."""

    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Migration:
    """What to do on every shard."""

    ini: Path
    """The service's alembic.ini."""

    action: MigrationAction = MigrationAction.UPGRADE
    target: str = "head"
    dry_run: bool = False
    arguments: tuple[str, ...] = ()
    """``name=value`` for env.py, as alembic's ``-x``."""

    concurrency: int = DEFAULT_CONCURRENCY
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    """For each shard."""

    connect_timeout_seconds: float = 3.0

    def check(self) -> None:
        """Raise SettingsError for what cannot be run, or cannot be run again safely."""
        if not self.ini.is_file():
            raise SettingsError(
                f"there is no file {self.ini}", hint="name the service's alembic.ini by --alembic"
            )
        if _RELATIVE.fullmatch(self.target):
            raise SettingsError(
                f"{self.target!r} counts from where each shard is: running it again after a failure"
                " would move the shards that are done once more",
                hint="name a revision, or head",
            )


@dataclass(frozen=True, slots=True)
class ShardReport:
    """Where one shard is, and what was done there."""

    shard: ShardId
    state: MigrationState
    current: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    """Revisions applied; of a dry run and of status: those to apply."""

    guards: str = ""
    """Guards that stand as they should, of those wanted: ``2/2``."""

    error: str | None = None
    notes: tuple[str, ...] = ()
    log: str = ""
    """The end of what alembic and env.py printed."""


def migrate(
    load: Callable[[], Topology],
    migration: Migration,
    on_report: Callable[[ShardReport], None] = lambda report: None,
) -> tuple[ShardReport, ...]:
    """Do it on the primaries of all shards; return a report of each, in the topology's order.

    load: gives the newest topology; guards are made for it when a shard's migration is done.
    on_report: told each shard's report as soon as it is there, from several threads.

    Raises SettingsError; failures of shards are in the reports.
    """
    migration.check()
    topology = load()
    processes = Processes()

    def work(shard: Shard) -> ShardReport:
        report = _OneShard(shard, migration, load, processes).run()
        on_report(report)
        return report

    with ThreadPoolExecutor(migration.concurrency, thread_name_prefix="migrate") as pool:
        futures = [pool.submit(work, shard) for shard in topology.shards]
        try:
            return tuple(future.result() for future in futures)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.interrupt()
            raise


class _OneShard:
    """The work on one shard, in a thread of its own."""

    def __init__(
        self,
        shard: Shard,
        migration: Migration,
        load: Callable[[], Topology],
        processes: Processes,
    ) -> None:
        self._shard = shard
        self._migration = migration
        self._load = load
        self._processes = processes

    def run(self) -> ShardReport:
        report = self._run_alembic()
        if report.error is not None or report.state is MigrationState.BUSY:
            return report
        try:
            summary = self._guards()
        except ShardRouterError as error:
            message = f"guards: {error.message}"
            return replace(report, state=MigrationState.FAILED, error=message)
        report = replace(report, guards=str(summary), notes=summary.notes)
        if not summary.problems:
            return report
        if self._migration.action is MigrationAction.DOWNGRADE or self._is_look:
            return replace(report, notes=(*report.notes, *summary.problems))
        return replace(report, state=MigrationState.FAILED, error="; ".join(summary.problems))

    @property
    def _is_look(self) -> bool:
        return self._migration.dry_run or self._migration.action is MigrationAction.STATUS

    def _run_alembic(self) -> ShardReport:
        migration = self._migration
        request = Request(
            shard=self._shard.id,
            dsn=self._shard.primary.dsn,
            url=sqlalchemy_url(self._shard.primary.dsn),
            ini=str(migration.ini.absolute()),
            action=migration.action.value,
            target="heads" if migration.action is MigrationAction.STATUS else migration.target,
            dry_run=migration.dry_run,
            arguments=migration.arguments,
            connect_timeout_seconds=max(2, round(migration.connect_timeout_seconds)),
        )
        # -P: the service's own directory must not come before the installed packages.
        command = [sys.executable, "-P", PROGRAM]
        # By stdin, because everybody may read a command line, and the DSN may hold a password.
        text = json.dumps(asdict(request))
        where = migration.ini.absolute().parent
        try:
            out, log = self._processes.run(command, text, where, migration.timeout_seconds)
        except subprocess.TimeoutExpired:
            error = f"no end within {migration.timeout_seconds:g} s"
            return ShardReport(self._shard.id, MigrationState.FAILED, error=error)
        return self._report(out, log)

    def _report(self, out: str, log: str) -> ShardReport:
        tail = log[-_LOG_CHARACTERS:]
        try:
            answer: dict[str, Any] = json.loads(out)
        except ValueError:
            said = (log.strip().splitlines() or ["it said nothing"])[-1]
            error = f"the migration process died: {said}"
            return ShardReport(self._shard.id, MigrationState.FAILED, error=error, log=tail)
        return ShardReport(
            self._shard.id,
            self._state(answer),
            current=tuple(answer["current"]),
            heads=tuple(answer["heads"]),
            steps=tuple(answer["steps"]),
            error=answer["error"],
            log=tail,
        )

    def _state(self, answer: dict[str, Any]) -> MigrationState:
        if answer["is_busy"]:
            return MigrationState.BUSY
        if answer["error"] is not None:
            return MigrationState.FAILED
        return MigrationState.BEHIND if self._is_look and answer["steps"] else MigrationState.OK

    def _guards(self) -> GuardSummary:
        for attempt in range(_STALE_ATTEMPTS):
            topology = self._load()
            shard = topology.shard(self._shard.id)
            timeout = self._migration.connect_timeout_seconds
            with direct_connection(shard, shard.primary, timeout, APPLICATION_NAME) as connection:
                if self._is_look:
                    return look_at_guards(connection, topology, shard.id)
                try:
                    return install_all_guards(connection, topology, shard.id, sleep=time.sleep)
                except StaleEpoch:
                    if attempt + 1 == _STALE_ATTEMPTS:
                        raise
        raise AssertionError("unreachable: the last attempt returns or raises")
