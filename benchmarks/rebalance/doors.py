"""How the load reaches the shards: through the library, and through the proxy."""

from typing import Any, Final, Protocol

import psycopg

from shardrouter import Router

ADD: Final = "UPDATE accounts SET balance = balance + %(delta)s WHERE aid = %(aid)s"
READ: Final = "SELECT balance FROM accounts WHERE aid = %(aid)s"
NOTE: Final = "INSERT INTO changes (aid, id, delta) VALUES (%(aid)s, %(id)s, %(delta)s)"


class Door(Protocol):
    """A way for one thread."""

    def transact(self, aid: int, id: int, delta: int) -> None:
        """Do what a transaction of pgbench does: add, read, note. Raises what the way raises."""

    def add(self, aid: int, delta: int) -> None:
        """Do the least that a program writes: one UPDATE by key, committed."""

    def close(self) -> None: ...


class LibraryDoor:
    """Plain psycopg connections that ``Router`` lends by key."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def transact(self, aid: int, id: int, delta: int) -> None:
        with self._router.connection(aid) as connection:
            _statements(connection, aid, id, delta)

    def add(self, aid: int, delta: int) -> None:
        with self._router.connection(aid) as connection:
            connection.execute(ADD, {"aid": aid, "delta": delta})

    def close(self) -> None:
        pass


class ProxyDoor:
    """A session of any client, which names the key before each transaction."""

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True)

    def transact(self, aid: int, id: int, delta: int) -> None:
        self._name(aid)
        with self._connection.transaction():
            _statements(self._connection, aid, id, delta)

    def add(self, aid: int, delta: int) -> None:
        self._name(aid)
        self._connection.execute(ADD, {"aid": aid, "delta": delta})

    def close(self) -> None:
        self._connection.close()

    def _name(self, aid: int) -> None:
        self._connection.execute(f"SET shardrouter.key = '{aid}'".encode())


def _statements(connection: psycopg.Connection[Any], aid: int, id: int, delta: int) -> None:
    given = {"aid": aid, "id": id, "delta": delta}
    for statement in (ADD, READ, NOTE):
        connection.execute(statement, given)
