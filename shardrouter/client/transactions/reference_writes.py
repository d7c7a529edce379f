"""Write reference tables: what is done on one shard is done on all, with the same values.

``tx.reference`` is a session on the first shard. Each statement it sends that changes a reference
table is sent to every other shard too, with the very parameters the driver got: defaults and
types were already worked out on this side. Shards are written in the same order by everybody, so
two writers of one row meet on the first shard instead of in a deadlock over two.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, event
from sqlalchemy.orm import ORMExecuteState, Session
from sqlalchemy.sql.elements import TextClause

from shardrouter.client.models import mark_of_mapper
from shardrouter.client.transactions.branch import Branch
from shardrouter.errors import ReferenceWrite
from shardrouter.sql.same_everywhere import volatile_default, volatile_word
from shardrouter.topology import TableKind, mark_of

_EVERYWHERE: Final = "shardrouter_everywhere"
"""Execution option of a text statement: nothing tells which table it writes."""

_HOW: Final = "write it in a session or transaction of its own key instead"


class ReferenceSession(Session):
    """A session whose changes reach every shard. Only reference tables may be changed.

    ``connect`` enlists all shards, on first use, and returns the connection to the first.
    """

    def __init__(self, bind: None = None, *, connect: Callable[[], Connection], **options: Any):
        super().__init__(**options, join_transaction_mode="rollback_only")
        self._connect = connect

    def get_bind(self, *args: Any, **kwargs: Any) -> Connection:
        """Return the connection to the first shard."""
        return self._connect()


@event.listens_for(ReferenceSession, "before_flush")
def _check_rows(session: ReferenceSession, context: Any, instances: Any) -> None:
    for instance in (*session.new, *session.deleted, *session.dirty):
        mark = mark_of_mapper(instance.__mapper__)
        if mark is None or mark.kind is not TableKind.REFERENCE:
            raise ReferenceWrite(f"{type(instance).__name__} is not marked @reference", hint=_HOW)


@event.listens_for(ReferenceSession, "do_orm_execute")
def _check_statement(state: ORMExecuteState) -> None:
    statement: Any = state.statement
    if isinstance(statement, TextClause):
        state.update_execution_options(**{_EVERYWHERE: True})
    elif (state.is_insert or state.is_update or state.is_delete) and not _is_reference(
        statement.table
    ):
        raise ReferenceWrite(f"{statement.table} is not a reference table", hint=_HOW)


class Repeater:
    """Repeats on the other shards what the first one's connection is told to change."""

    def __init__(self, first: Branch, others: Sequence[Branch]) -> None:
        self._first = first
        self._others = others
        self.disagreement: ReferenceWrite | None = None
        """Set once the copies are known to differ: the transaction must not commit."""
        event.listen(first.connection, "before_cursor_execute", self._check)
        event.listen(first.connection, "after_cursor_execute", self._repeat)

    def _check(
        self, connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any,
        executemany: bool,
    ) -> None:  # fmt: skip
        """Refuse what would not be the same everywhere, before any SQL is sent."""
        if not _goes_everywhere(context):
            return
        if connection.in_nested_transaction():
            raise ReferenceWrite(
                "a reference table is written inside a savepoint, which only one shard has",
                hint="write it outside of begin_nested()",
            )
        word = volatile_word(statement)
        if word is not None:
            raise ReferenceWrite(
                f"{word} has another value on every shard",
                hint="compute the value once in Python and pass it as a parameter",
            )
        if context.isinsert:
            table = context.compiled.statement.table
            column = volatile_default(statement, table)
            if column is not None:
                raise ReferenceWrite(
                    f"{table.name}.{column} would be filled in by each shard on its own",
                    hint=f"set {column} (a key by router.new_id, a time by datetime.now), or give "
                    "the column a default= in Python",
                )

    def _repeat(
        self, connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any,
        executemany: bool,
    ) -> None:  # fmt: skip
        if not _goes_everywhere(context):
            return
        for branch in self._others:
            result = branch.connection.exec_driver_sql(
                statement, parameters or None, execution_options={"preserve_rowcount": True}
            )
            changed = result.rowcount
            result.close()
            if changed != cursor.rowcount:
                raise self._disagree(branch, cursor.rowcount, changed)

    def _disagree(self, branch: Branch, expected: int, changed: int) -> ReferenceWrite:
        self.disagreement = ReferenceWrite(
            f"the copies of a reference table differ: a statement met {expected} rows on "
            f"{self._first.shard.id} and {changed} on {branch.shard.id}",
            shard=branch.shard.id,
            hint="nothing was written; compare the table on both shards and mend it "
            f"(`shardrouter psql {branch.shard.id}`)",
        )
        return self.disagreement


def _goes_everywhere(context: Any) -> bool:
    if context.execution_options.get(_EVERYWHERE):
        return True
    if not (context.isinsert or context.isupdate or context.isdelete):
        return False
    return _is_reference(context.compiled.statement.table)


def _is_reference(table: Any) -> bool:
    mark = mark_of(table.info) if isinstance(table, Table) else None
    return mark is not None and mark.kind is TableKind.REFERENCE
