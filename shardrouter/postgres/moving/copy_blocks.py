"""Read a COPY TO STDOUT in blocks of many rows.

The driver's own loop waits and wakes for every row, which costs more than the server needs to
send it. Here whatever libpq has received is taken at once.
"""

import select
from collections.abc import Iterator

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn


def copy_blocks(
    connection: psycopg.Connection, query: str, block_bytes: int
) -> Iterator[tuple[int, bytes]]:
    """Run the COPY; give the number of rows, headers included, and the bytes of each block.

    A block ends with a whole row and is at least so large, but for the last. Raises psycopg.Error;
    after an error, and when the blocks are not read to the end, the connection is to be closed.
    """
    pgconn = connection.pgconn
    pgconn.send_query(query.encode(connection.info.encoding))
    _expect(connection, ExecStatus.COPY_OUT)
    rows: list[bytes | memoryview] = []
    size = 0
    while True:
        length, data = pgconn.get_copy_data(1)
        if length > 0:
            rows.append(data)
            size += length
            if size >= block_bytes:
                yield len(rows), b"".join(rows)
                rows, size = [], 0
        elif length == 0:
            _receive(pgconn)
        else:
            break
    if rows:
        yield len(rows), b"".join(rows)
    _expect(connection, ExecStatus.COMMAND_OK)
    while pgconn.get_result() is not None:
        pass


def _expect(connection: psycopg.Connection, status: int) -> None:
    """Take the next result. Raises what it says when it is another."""
    pgconn = connection.pgconn
    while pgconn.is_busy():
        _receive(pgconn)
    result = pgconn.get_result()
    if result is None or result.status != status:
        if result is None:
            raise psycopg.OperationalError("the server answered nothing to a COPY")
        raise psycopg.errors.error_from_result(result, connection.info.encoding)


def _receive(pgconn: PGconn) -> None:
    ready = select.poll()  # unlike select(), for any number of open files
    ready.register(pgconn.socket, select.POLLIN)
    ready.poll()
    pgconn.consume_input()
