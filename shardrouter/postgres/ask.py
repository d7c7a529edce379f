"""Ask on a connection and fetch the answer in two steps, so that many questions are under way.

One thread asks all shards before it waits for the first: no thread per shard, no turns at Python's
lock. The query runs outside a transaction block, in one round trip, so it must only read. What an
exception interrupts leaves its connection with a query under way: it must not be used again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

WaitReady = Callable[[int, bool], None]
"""Waits until a socket may be read, or (True) written, without holding anybody else up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a query as psycopg makes them, and the type OID of each column."""

    rows: Sequence[tuple[Any, ...]]
    oids: Sequence[int]


class Asked:
    """A query that was sent on a connection, whose answer is to be fetched."""

    def __init__(
        self, driver: Any, text: str, values: Sequence[Any], wait_ready: WaitReady
    ) -> None:
        """Send the query, with parameters ``$1``, ``$2`` ... Raises psycopg.Error."""
        self._pgconn = driver.pgconn
        self._transformer = Transformer(driver)
        self._wait_ready = wait_ready
        parameters = self._transformer.dump_sequence(values, [PyFormat.AUTO] * len(values))
        self._pgconn.send_query_params(
            text.encode(),
            parameters or None,
            param_types=self._transformer.types or None,
            param_formats=self._transformer.formats or None,
        )
        while self._pgconn.flush():
            wait_ready(self._pgconn.socket, True)
            self._pgconn.consume_input()  # the server may be waiting for us to read

    def fetch(self) -> Answer:
        """Wait for the answer. Raises psycopg.Error."""
        last: Any = None
        while (result := self._next_result()) is not None:
            last = result
        if last is None or last.status != ExecStatus.TUPLES_OK:
            raise self._error(last)
        self._transformer.set_pgresult(last)
        return Answer(
            rows=self._transformer.load_rows(0, last.ntuples, tuple),
            oids=[last.ftype(i) for i in range(last.nfields)],
        )

    def _next_result(self) -> Any:
        while self._pgconn.is_busy():
            self._wait_ready(self._pgconn.socket, False)
            self._pgconn.consume_input()
        return self._pgconn.get_result()

    def _error(self, result: Any) -> psycopg.Error:
        if result is None:
            return psycopg.OperationalError("the server closed the connection")
        return error_from_result(result)
