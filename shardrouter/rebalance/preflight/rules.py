"""Judge whether two shards can carry out a move. Pure: facts in, problems out.

Every problem names what mends it. The letters P1 to P24 of the design's list of pitfalls are not
repeated here; each of them is a rule here, a case the mover handles, or a test.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from shardrouter.postgres import TableFacts, identity_sql
from shardrouter.postgres.moving import ShardFacts
from shardrouter.topology import ShardId, Table

OLD_TRANSACTION_SECONDS: Final = 60.0
SHORT_TIMEOUT_MS: Final = 600_000  # a first copy may take longer than ten minutes
ORIGINS_SINCE: Final = 180000  # server_version_num: origins have a limit of their own
_LARGE_OBJECTS: Final = frozenset({"oid", "lo"})
_COLLATED: Final = frozenset({"text", "varchar", "bpchar", "citext", "name"})


class Problem(NamedTuple):
    """Why the move cannot be done now."""

    shard: ShardId
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.shard}: {self.what} ({self.mend})"


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key of, or to, a sharded table."""

    name: str
    child: str
    """``schema.table`` that refers."""

    parent: str
    pairs: tuple[tuple[str, str], ...]
    """Column of the child and column of the parent."""


@dataclass(frozen=True, slots=True)
class TablePair:
    """One moving table as the two shards have it."""

    table: Table
    source: TableFacts | None
    target: TableFacts | None
    differences: tuple[str, ...] = ()
    """In words; ``here`` is the source."""

    triggers: tuple[str, ...] = ()
    """Of the target, that fire for replicated rows as well."""

    stray_rows: bool = False
    """The target holds rows of the slots."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What the move is going to use."""

    source: ShardId
    target: ShardId
    is_reversible: bool
    """A reverse stream will run while the move soaks."""

    is_safe_copy: bool


def server_problems(needs: Needs, source: ShardFacts, target: ShardFacts) -> Iterator[Problem]:
    """Yield what is wrong with the servers."""
    if (source.system_id, source.database) == (target.system_id, target.database):
        yield Problem(needs.target, "it is the very database of the source", "compare the DSNs")
    if source.encoding != target.encoding:
        yield Problem(
            needs.target,
            f"its encoding is {target.encoding}, the source's {source.encoding}",
            f"make the database with ENCODING '{source.encoding}'",
        )
    yield from _publisher_problems(
        needs.source, source, needs, source.sync_workers_per_subscription
    )
    yield from _subscriber_problems(needs.target, target)
    if needs.is_reversible:
        yield from _publisher_problems(needs.target, target, needs, 0)
        yield from _subscriber_problems(needs.source, source)


def _publisher_problems(
    shard: ShardId, facts: ShardFacts, needs: Needs, copies: int
) -> Iterator[Problem]:
    if facts.wal_level != "logical":
        yield Problem(
            shard,
            f"wal_level is {facts.wal_level}",
            "ALTER SYSTEM SET wal_level = logical, then restart the server",
        )
    wanted = 1 + (copies if needs.is_safe_copy else 0)
    for name, room in (
        ("max_replication_slots", facts.replication_slots),
        ("max_wal_senders", facts.wal_senders),
    ):
        if room.free < wanted:
            yield Problem(
                shard,
                f"{room.free} of {name} = {room.limit} are free, {wanted} are needed",
                f"ALTER SYSTEM SET {name} = {room.limit + wanted - room.free}, then restart",
            )
    for is_allowed, what, mend in (
        (facts.rights.may_publish, "make publications", "GRANT CREATE ON DATABASE"),
        (facts.rights.may_replicate, "make replication slots", "ALTER ROLE ... REPLICATION"),
        (
            facts.rights.may_set_replication_role,
            "set session_replication_role",
            "GRANT SET ON PARAMETER session_replication_role",
        ),
    ):
        if not is_allowed:
            yield Problem(shard, f"the role may not {what}", mend)
    if needs.is_safe_copy and copies and 0 < facts.role_statement_timeout_ms < SHORT_TIMEOUT_MS:
        yield Problem(
            shard,
            f"statement_timeout of the role is {facts.role_statement_timeout_ms} ms and would end"
            " the first copy",
            "ALTER ROLE ... SET statement_timeout = 0, or copy fast",
        )


def _subscriber_problems(shard: ShardId, facts: ShardFacts) -> Iterator[Problem]:
    if not facts.rights.may_subscribe:
        yield Problem(
            shard,
            "the role may not make subscriptions",
            "GRANT pg_create_subscription (16 and later) and CREATE ON DATABASE, or a superuser",
        )
    for name, room, wanted in (
        ("max_logical_replication_workers", facts.logical_workers, 2),
        (_origins_setting(facts), facts.replication_origins, 1),
    ):
        if room.free < wanted:
            yield Problem(
                shard,
                f"{room.free} of {name} = {room.limit} are free, {wanted} are needed",
                f"ALTER SYSTEM SET {name} = {room.limit + wanted}, then restart",
            )


def _origins_setting(facts: ShardFacts) -> str:
    """Return which setting bounds the origins, of which each subscription has one."""
    own = facts.version >= ORIGINS_SINCE
    return "max_active_replication_origins" if own else "max_replication_slots"


def server_notes(needs: Needs, source: ShardFacts, target: ShardFacts) -> Iterator[str]:
    """Yield what the move can live with, but an operator should know."""
    for shard, facts in ((needs.source, source), (needs.target, target)):
        for found in facts.long_transactions:
            if found.seconds >= OLD_TRANSACTION_SECONDS or found.is_prepared:
                yield (
                    f"{shard}: {found.who} in database {found.database} is open for"
                    f" {found.seconds:.0f} s; replication slots wait for it"
                )
        if not facts.rights.may_lock_ddl:
            yield f"{shard}: the role may not make event triggers: DDL is noticed, not refused"
    if source.max_slot_wal_keep_bytes is not None:
        yield (
            f"{needs.source}: max_slot_wal_keep_size is {source.max_slot_wal_keep_bytes >> 20} MB;"
            " when the stream falls further behind the rows are copied again"
        )


def table_problems(needs: Needs, pair: TablePair, *, has_same_collation: bool) -> Iterator[Problem]:
    """Yield what is wrong with one table."""
    name, source, target = pair.table.full_name, pair.source, pair.target
    if source is None:
        yield Problem(needs.source, f"there is no table {name}", "`shardrouter migrate upgrade`")
        return
    yield from _source_table_problems(needs.source, pair.table, source)
    if target is None:
        yield Problem(
            needs.target,
            f"there is no table {name}",
            "`shardrouter migrate upgrade`, or create_all",
        )
        return
    for difference in pair.differences:
        yield Problem(
            needs.target,
            f"{name} differs from {needs.source} (here): {difference}",
            "`shardrouter migrate upgrade`",
        )
    for trigger in pair.triggers:
        yield Problem(
            needs.target,
            f"the trigger {trigger} of {name} fires for replicated rows",
            f"ALTER TABLE {name} ENABLE TRIGGER {trigger}",
        )
    if not has_same_collation and _is_ordered_by_text(source):
        yield Problem(
            needs.target,
            f"its collation orders the primary key of {name} otherwise than {needs.source} does",
            "make the database with the same locale provider, locale and version",
        )


def _source_table_problems(shard: ShardId, table: Table, facts: TableFacts) -> Iterator[Problem]:
    name = table.full_name
    key = [column.name for column in table.key]
    rules = (
        (facts.kind not in "rp", "is not an ordinary or partitioned table", "shard such tables"),
        (not facts.is_permanent, "is unlogged", f"ALTER TABLE {name} SET LOGGED"),
        (facts.is_inherited, "takes part in inheritance", f"ALTER TABLE {name} NO INHERIT ..."),
        (not facts.primary_key, "has no primary key", f"ALTER TABLE {name} ADD PRIMARY KEY (...)"),
    )
    for is_wrong, what, mend in rules:
        if is_wrong:
            yield Problem(shard, f"{name} {what}", mend)
    if facts.primary_key and not facts.identity_holds(key):
        statements = "; ".join(identity_sql(table, facts.primary_key))
        yield Problem(shard, f"the replica identity of {name} does not hold its key", statements)
    for column in facts.columns:
        if column.type in _LARGE_OBJECTS:
            yield Problem(
                shard,
                f"{name}.{column.name} is of type {column.type}: large objects do not move",
                "keep the bytes in a bytea column",
            )
        if column.name in facts.primary_key and not column.has_deterministic_collation:
            yield Problem(
                shard,
                f"{name}.{column.name} has a nondeterministic collation",
                "give the primary key a deterministic one",
            )


def _is_ordered_by_text(facts: TableFacts) -> bool:
    types = {column.name: column.type for column in facts.columns}
    return any(types.get(name) in _COLLATED for name in facts.primary_key)


def foreign_key_problems(
    shard: ShardId, keys: Sequence[ForeignKey], sharded: Sequence[Table], reference: Sequence[str]
) -> Iterator[Problem]:
    """Yield foreign keys that do not survive a move.

    Good are those to reference tables, and those between sharded tables that hold the shard key.
    """
    tables = {table.full_name: table for table in sharded}
    for key in keys:
        child, parent = tables.get(key.child), tables.get(key.parent)
        if child is None:
            yield Problem(
                shard,
                f"{key.child}, which is not sharded, refers to {key.parent} by {key.name}",
                f"ALTER TABLE {key.child} DROP CONSTRAINT {key.name}",
            )
        elif parent is None and key.parent not in reference:
            yield Problem(
                shard,
                f"{key.child} refers to {key.parent}, which is neither sharded nor a reference"
                f" table, by {key.name}",
                f"register {key.parent} as a reference table, or drop the constraint",
            )
        elif parent is not None and not _holds_key(key, child, parent):
            yield Problem(
                shard,
                f"{key.name} of {key.child} does not hold the shard key: the row it refers to may"
                " stay behind",
                "make the constraint over the shard key of both tables as well",
            )


def _holds_key(key: ForeignKey, child: Table, parent: Table) -> bool:
    names = zip(child.key, parent.key, strict=False)
    wanted = {(ours.name, theirs.name) for ours, theirs in names}
    return len(child.key) == len(parent.key) and wanted <= set(key.pairs)
