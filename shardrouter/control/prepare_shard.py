"""Make a shard ready to take slots: the registered tables, their guards, the reference rows.

All of it is one transaction on that shard. Reference tables stay the same everywhere without a gap:
they are locked against writes on one other shard, which every writer of them must pass, from before
the last comparison until every router knows the shard. Whoever wrote before the lock is copied;
whoever waited at it finds that a shard was added when it wants to commit, and begins again.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import Connection, exc, text

from shardrouter.catalog import LiveRouter
from shardrouter.errors import SettingsError, UnsupportedSchema
from shardrouter.postgres import (
    PATIENCE,
    Guard,
    Patience,
    Relation,
    Sleep,
    copy_table,
    dump_schema,
    fire_no_triggers,
    has_foreign_rows,
    nobody_writes,
    read_table,
    run_verbatim,
    sharded_tables,
    table_digest,
    version_tables,
    write_guards,
)
from shardrouter.topology import Epoch, Shard, Table, TableKind, Topology

POLL_SECONDS: Final = 0.02  # writers of reference tables wait meanwhile

ConnectPrimary = Callable[[Shard], AbstractContextManager[Connection]]
FindPrograms = Callable[[int, int], Path]
"""Given the major versions of source and target, returns a directory with a fitting pg_dump."""


class Routers(Protocol):
    """What is needed of the catalog: ``CatalogStore`` has it."""

    def routers(self) -> list[LiveRouter]: ...


@dataclass(frozen=True, slots=True)
class PreparationTools:
    """What the work is done with."""

    connect: ConnectPrimary
    find_programs: FindPrograms
    routers: Routers
    lease_seconds: float
    """After so long no router serves an older topology."""

    sleep: Sleep = time.sleep
    clock: Callable[[], float] = time.monotonic
    patience: Patience = PATIENCE


@dataclass(slots=True)
class Prepared:
    """What was done."""

    made: list[str] = field(default_factory=list)
    """Tables that were made."""

    left_out: list[str] = field(default_factory=list)
    """Tables and views of the other shard that are not registered, and were not made."""

    absent: list[str] = field(default_factory=list)
    """Registered tables that the other shard does not have either."""

    copied: dict[str, int] = field(default_factory=dict)
    """Rows by reference table, of those that differed."""

    script: str = ""
    """The SQL that made the tables."""


def missing_tables(connection: Connection, tables: Sequence[Table]) -> list[Table]:
    """Return those of the tables that a shard does not have."""
    return [t for t in tables if read_table(connection, t.schema, t.name) is None]


class Preparation:
    """The work on one shard.

    topology: with the shard in it. replace: what a reference table of the shard holds may be
    overwritten, because the shard is no part of the fleet yet.
    """

    def __init__(
        self, topology: Topology, shard: Shard, tools: PreparationTools, *, replace: bool
    ) -> None:
        self._topology = topology
        self._shard = shard
        self._donor = _donor(topology, shard)
        self._tools = tools
        self._replace = replace
        self._tables: Sequence[Table] = ()
        self._done = Prepared()

    def look(self) -> Prepared:
        """Say what would be done; change nothing. Errors as ``run``."""
        with self._connected() as (source, target):
            self._done.script = self._script(source, target)
        return self._done

    def run(self, publish: Callable[[], Epoch]) -> Prepared:
        """Prepare the shard, then call ``publish``, which makes it known and returns the epoch.

        Raises UnsupportedSchema, SettingsError, FleetError (no pg_dump), LockTimeout,
        BackendUnreachable, and what ``publish`` raises: then the shard is ready, but not known.
        """
        with self._connected() as (source, target):
            self._done.script = self._script(source, target)
            with target.begin() as transaction:
                self._make(source, target)
                references = self._references()
                if not references:
                    transaction.commit()
                    publish()
                    return self._done
                self._copy(source, target)
                with nobody_writes(
                    source, references, sleep=self._tools.sleep, patience=self._tools.patience
                ):
                    self._compare(source, target)
                    transaction.commit()
                    self._wait_for_routers(publish())
        return self._done

    @contextmanager
    def _connected(self) -> Iterator[tuple[Connection, Connection]]:
        with (
            self._tools.connect(self._donor) as source,
            self._tools.connect(self._shard) as target,
        ):
            yield source, target

    # Tables

    def _script(self, source: Connection, target: Connection) -> str:
        """Return the SQL that makes the tables, "" when all stand."""
        with source.begin(), target.begin():
            absent = missing_tables(source, _needed(self._topology))
            self._done.absent = [table.full_name for table in absent]
            self._tables = [t for t in _needed(self._topology) if t not in absent]
            missing = missing_tables(target, self._tables)
            missing = missing_tables(target, self._tables)
            if not missing:
                return ""
            if len(missing) != len(self._tables):
                raise UnsupportedSchema(
                    f"{_names(missing)} is missing, but others of the registered tables stand",
                    shard=self._shard.id,
                    hint="make the rest with `shardrouter migrate` or router.create_all, or drop"
                    " what stands there and run the command again",
                )
            programs = self._tools.find_programs(_major(source), _major(target))
            self._done.made = [table.full_name for table in self._tables]
            dsn = self._donor.primary.dsn
            script, left_out = dump_schema(source, dsn, programs, self._tables)
            registered = {table.full_name for table in self._topology.tables}
            self._done.left_out = [name for name in left_out if name not in registered]
            return script

    def _make(self, source: Connection, target: Connection) -> None:
        if self._done.script:
            _run_script(target, self._done.script, self._shard)
        fire_no_triggers(target)
        if self._done.script:
            with source.begin():
                for schema, name in version_tables(source):
                    copy_table(source, target, Relation(schema, name))
        guards = [
            Guard.of(t, self._topology, self._shard.id) for t in sharded_tables(self._topology)
        ]
        write_guards(target, guards)
        for guard in guards:
            if not self._done.script and has_foreign_rows(target, guard):
                raise SettingsError(
                    f"table {guard.table.full_name} holds rows that this shard does not own",
                    shard=self._shard.id,
                    epoch=self._topology.epoch,
                    hint="delete them, or load them through a router when the shard has slots",
                )

    # Reference rows

    def _references(self) -> list[Table]:
        return [table for table in self._tables if table.kind is TableKind.REFERENCE]

    def _copy(self, source: Connection, target: Connection) -> None:
        """Copy what differs while writers go on, so that little is left to do under the lock."""
        with source.begin():
            for table in self._references():
                relation = Relation(table.schema, table.name)
                there = table_digest(target, relation)
                if there == table_digest(source, relation):
                    continue
                if there.rows and not self._replace:
                    raise SettingsError(
                        f"reference table {table.full_name} differs from that of other shards",
                        shard=self._shard.id,
                        epoch=self._topology.epoch,
                        hint="compare the rows on both shards, and mend or empty the table here",
                    )
                self._done.copied[table.full_name] = copy_table(source, target, relation)

    def _compare(self, source: Connection, target: Connection) -> None:
        """Nobody writes now: copy what changed since, and prove that both sides are the same."""
        for table in self._references():
            relation = Relation(table.schema, table.name)
            here = table_digest(source, relation)
            if table_digest(target, relation) == here:
                continue
            self._done.copied[table.full_name] = copy_table(source, target, relation)
            if table_digest(target, relation) != here:
                raise UnsupportedSchema(
                    f"the rows of reference table {table.full_name} are other ones once copied",
                    shard=self._shard.id,
                    hint="look for triggers, rules and generated columns that differ there",
                )

    def _wait_for_routers(self, epoch: Epoch) -> None:
        """Wait until no router writes reference tables by a topology without the shard."""
        deadline = self._tools.clock() + self._tools.lease_seconds
        while any(router.epoch < epoch for router in self._tools.routers.routers()):
            if self._tools.clock() >= deadline:
                return  # whoever has not answered has no lease any more
            self._tools.sleep(POLL_SECONDS)


def _donor(topology: Topology, shard: Shard) -> Shard:
    """Return the shard to take the tables from: where every writer of references begins."""
    others = [other for other in topology.shards if other.id != shard.id]
    if not others:
        raise SettingsError(
            "there is no other shard to take the tables from",
            shard=shard.id,
            hint="make the tables with `shardrouter migrate` or router.create_all",
        )
    return min(others, key=lambda other: other.id)


def _needed(topology: Topology) -> list[Table]:
    return [table for table in topology.tables if table.kind is not TableKind.LOCAL]


def _names(tables: Sequence[Table]) -> str:
    return ", ".join(table.full_name for table in tables)


def _run_script(connection: Connection, script: str, shard: Shard) -> None:
    try:
        run_verbatim(connection, script)
    except exc.DBAPIError as error:
        said = (str(error.orig).strip().splitlines() or [type(error.orig).__name__])[0]
        raise UnsupportedSchema(
            f"the tables cannot be made there: {said}",
            shard=shard.id,
            hint="make the role, extension or schema that is missing there, then run the command"
            " again; `shardrouter shard prepare --dry-run` shows the SQL",
        ) from error


def _major(connection: Connection) -> int:
    return int(connection.execute(_VERSION).scalar_one()) // 10_000


_VERSION: Final = text("SELECT pg_catalog.current_setting('server_version_num')::int")
