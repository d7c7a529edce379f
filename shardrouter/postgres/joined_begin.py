"""Cursors that send a transaction's BEGIN together with its first statement: one round trip less.

Overrides psycopg internals (``BaseCursor._execute_gen`` and what it calls), see ``backend``. BEGIN
and a statement that the server has prepared already travel as one pipeline of the extended
protocol, up to one Sync, and behave as they do one after the other: the transaction is open
afterwards, or failed when the statement failed. Every other statement goes psycopg's own way.
"""

from collections.abc import Generator
from typing import Any

import psycopg
from psycopg import errors, generators
from psycopg._preparing import Prepare
from psycopg.pq import ExecStatus


class _JoinsBegin:
    """Mixin for psycopg's two ordinary cursor classes."""

    _conn: Any
    _pgconn: Any

    def _execute_gen(
        self: Any, query: Any, params: Any = None, *, prepare: Any = None, binary: Any = None
    ) -> Generator[Any, Any, None]:
        conn = self._conn
        if params is None or not conn.is_begin_due():
            plain = super()._execute_gen  # type: ignore[misc]
            yield from plain(query, params, prepare=prepare, binary=binary)
            return
        conn._autocommit = True  # else psycopg's _start_query sends its BEGIN now, and waits
        try:
            yield from self._start_query(query)
        finally:
            conn._autocommit = False
        pgq = self._convert_query(query, params)
        prep, name = self._get_prepared(pgq, prepare)
        if prep is Prepare.YES:
            yield from self._begin_and_run(pgq, name, binary)
        else:
            yield from conn._start_query()
            yield from self._maybe_prepare_gen(pgq, prepare=prepare, binary=binary)
        self._last_query = query
        yield from conn._prepared.maintain_gen(conn)

    def _begin_and_run(self: Any, pgq: Any, name: bytes, binary: Any) -> Generator[Any, Any, None]:
        conn, pgconn = self._conn, self._pgconn
        conn.transaction_begins()
        try:
            pgconn.enter_pipeline_mode()
            pgconn.send_query_params(conn._get_tx_start_command(), None)
            self._send_query_prepared(name, pgq, binary=binary)
            pgconn.pipeline_sync()
        except BaseException:
            pgconn.finish()  # half of it may be on its way
            raise
        began = yield from generators.execute(pgconn)
        results = yield from generators.fetch_many(pgconn)
        yield from generators.fetch_many(pgconn)  # the answer to Sync
        pgconn.exit_pipeline_mode()
        if began[0].status != ExecStatus.COMMAND_OK:
            raise errors.error_from_result(began[0], encoding=pgconn._encoding)
        conn._prepared.maybe_add_to_cache(pgq, Prepare.YES, name)
        self._check_results(results)
        self._set_results(results)


class BackendCursor(_JoinsBegin, psycopg.Cursor[Any]):
    """A cursor of a ``Backend``."""


class AsyncBackendCursor(_JoinsBegin, psycopg.AsyncCursor[Any]):
    """A cursor of an ``AsyncBackend``."""
