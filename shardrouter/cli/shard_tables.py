"""Make a shard's tables for ``shard add`` and ``shard prepare``, and tell what was done."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection

from shardrouter.catalog import CatalogStore
from shardrouter.cli.output import Output, say, show_json, stderr
from shardrouter.config import Settings
from shardrouter.control import Preparation, PreparationTools, Prepared
from shardrouter.local import find_dump_programs
from shardrouter.postgres import direct_connection
from shardrouter.topology import Shard, ShardId, Topology


def preparation_of(
    store: CatalogStore, settings: Settings, topology: Topology, shard: Shard, *, replace: bool
) -> Preparation:
    """Put the work together. Raises SettingsError when there is no shard to take tables from."""

    @contextmanager
    def connect(to: Shard) -> Iterator[Connection]:
        timeout = settings.pool.connect_timeout_seconds
        with direct_connection(to, to.primary, timeout, "shardrouter-prepare") as connection:
            yield connection

    def find_programs(source_major: int, target_major: int) -> Path:
        return find_dump_programs(source_major, target_major).directory

    tools = PreparationTools(connect, find_programs, store, settings.catalog.lease_seconds)
    return Preparation(topology, shard, tools, replace=replace)


def notes_of_preparation(done: Prepared, shard: ShardId, *, dry_run: bool) -> list[str]:
    """Return what was done, or would be, in words."""
    notes = []
    if done.made:
        verb = "would make" if dry_run else "made"
        notes.append(f"{verb} {', '.join(done.made)} on shard {shard}")
    if done.left_out:
        notes.append(f"not registered, so left out: {', '.join(done.left_out)}")
    if done.absent:
        notes.append(f"registered, but nowhere yet: {', '.join(done.absent)}")
    if done.copied:
        told = ", ".join(f"{rows} rows of {table}" for table, rows in done.copied.items())
        notes.append(f"copied {told}")
    return notes


def show_preparation(done: Prepared, *, dry_run: bool, output: Output) -> None:
    """Print what ``shard prepare`` did; of a dry run the SQL it would run."""
    if output is Output.JSON:
        show_json(
            {
                "prepared": not dry_run,
                "made": done.made,
                "absent": done.absent,
                "left_out": done.left_out,
                "copied": done.copied,
                "sql": done.script,
            }
        )
        return
    if dry_run:
        say(done.script or "-- all registered tables stand")
    elif done.made:
        say(f"made {', '.join(done.made)}")
    else:
        say("all registered tables stand, with their guards")
    for table, rows in done.copied.items():
        say(f"copied {rows} rows of {table}")
    if done.left_out:
        stderr.print(f"note: not registered, so left out: {', '.join(done.left_out)}", markup=False)
