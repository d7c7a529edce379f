"""Make and guard tables on one shard: one transaction, and a look at rows that stood before."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, MetaData, event, inspect
from sqlalchemy.schema import CreateSchema

from shardrouter.client.installing.table_differences import differences
from shardrouter.client.installing.table_rules import Plan
from shardrouter.errors import UnsupportedSchema
from shardrouter.postgres import (
    Guard,
    Patience,
    Sleep,
    ensure_identity,
    has_foreign_rows,
    key_columns,
    lock_installers,
    read_table,
    run_with_locks,
    write_guards,
)
from shardrouter.topology import ShardId, TableKind, Topology
from shardrouter.topology import Table as Entry

SCHEMA: Final = "public"  # where tables without a schema of their own stand


@contextmanager
def identities_made_with_tables(plans: Sequence[Plan]) -> Iterator[None]:
    """Make each new table's replica identity at once: foreign keys of the next may need it."""
    listeners = [
        (plan.table, _identity_maker(plan.entry))
        for plan in plans
        if plan.kind is TableKind.SHARDED
    ]
    for table, listener in listeners:
        event.listen(table, "after_create", listener)
    try:
        yield
    finally:
        for table, listener in listeners:
            event.remove(table, "after_create", listener)


def _identity_maker(entry: Entry) -> Callable[..., None]:
    def make(target: Any, connection: Connection, **options: Any) -> None:
        ensure_identity(connection, entry)

    return make


class ShardInstall:
    """The work on one shard. The connection has no transaction open."""

    def __init__(
        self,
        connection: Connection,
        metadata: MetaData,
        plans: Sequence[Plan],
        topology: Topology,
        shard: ShardId,
    ) -> None:
        self._connection = connection
        self._metadata = metadata
        self._plans = [plan for plan in plans if plan.stands_on(shard)]
        self._topology = topology
        self._shard = shard

    def run(self, sleep: Sleep, patience: Patience) -> None:
        """Raises UnsupportedSchema, LockTimeout, StaleEpoch, SettingsError."""
        tables = [plan.entry for plan in self._plans]
        standing = run_with_locks(
            self._connection, self._make, tables, sleep=sleep, patience=patience
        )
        for plan in standing:
            if plan.kind is TableKind.SHARDED:
                self._refuse_foreign_rows(plan)

    def _make(self) -> list[Plan]:
        """Make what is missing, in one transaction; return the plans of tables that stood."""
        lock_installers(self._connection)
        self._ensure_schemas()
        inspector = inspect(self._connection)
        standing = [
            plan
            for plan in self._plans
            if inspector.has_table(plan.table.name, schema=plan.table.schema)
        ]
        self._refuse_differences(standing)
        sharded = [plan.entry for plan in self._plans if plan.kind is TableKind.SHARDED]
        for entry in sharded:
            ensure_identity(self._connection, entry)
        self._metadata.create_all(self._connection, tables=[plan.table for plan in self._plans])
        for plan in self._plans:
            self._refuse_unfit(plan)
        guards = [Guard.of(entry, self._topology, self._shard) for entry in sharded]
        write_guards(self._connection, guards)
        return standing

    def _ensure_schemas(self) -> None:
        found = self._connection.dialect.default_schema_name
        if found != SCHEMA and any(plan.table.schema is None for plan in self._plans):
            raise UnsupportedSchema(
                f"tables without a schema would be made in {found or 'no schema'}",
                hint=f"let the search_path of this role begin with {SCHEMA}, or give the MetaData"
                " a schema",
            )
        for schema in sorted({plan.table.schema for plan in self._plans if plan.table.schema}):
            if not inspect(self._connection).has_schema(schema):
                self._connection.execute(CreateSchema(schema, if_not_exists=True))

    def _refuse_differences(self, standing: Sequence[Plan]) -> None:
        if not standing:
            return
        tables = {plan.table for plan in standing}
        found = differences(self._connection, self._metadata, tables, SCHEMA)
        if found:
            raise UnsupportedSchema(
                f"tables that stand differ from the declared ones: {'; '.join(found)}",
                hint="change them with `shardrouter migrate upgrade`: create_all only makes tables",
            )

    def _refuse_unfit(self, plan: Plan) -> None:
        """Compare with what the server made of the declaration, its collations above all."""
        if plan.kind is TableKind.LOCAL:
            return
        facts = read_table(self._connection, plan.entry.schema, plan.entry.name)
        assert facts is not None  # made in this transaction
        made = key_columns(facts, [column.name for column in plan.entry.key])
        if made != plan.entry.key:
            raise UnsupportedSchema(
                f"the shard key of {facts.full_name} is {made} there, declared {plan.entry.key}",
                hint="change it with `shardrouter migrate upgrade`",
            )

    def _refuse_foreign_rows(self, plan: Plan) -> None:
        """Look once, before a table that stood is registered; its guard keeps it so since."""
        if self._topology.table(plan.entry.full_name) is not None:
            return
        with self._connection.begin():
            is_mixed = has_foreign_rows(
                self._connection, Guard.of(plan.entry, self._topology, self._shard)
            )
        if is_mixed:
            raise UnsupportedSchema(
                f"{plan.entry.full_name} holds rows of slots that this shard does not own",
                hint="load the rows through a router into an empty table; this one stays guarded"
                " and unregistered",
            )
