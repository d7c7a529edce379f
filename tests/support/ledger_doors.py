"""The ways of a ledger's client to the rows: the library, the proxy, and straight to a shard."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import psycopg
from sqlalchemy import text, update

from shardrouter import Router
from tests.support.ledger_tables import LedgerAccount, LedgerEntry

INSERT: Final = (
    "INSERT INTO ledger_entry (account, number, amount, note) VALUES (%(account)s, %(number)s, 0,"
    " repeat('x', %(number)s::int %% 200))"
)
ADD: Final = (
    "UPDATE ledger_account SET counter = counter + 1 WHERE id = %(account)s RETURNING counter"
)
REMOVE: Final = "DELETE FROM ledger_entry WHERE account = %(account)s AND number = %(number)s"
CHANGE: Final = "UPDATE ledger_account SET balance = balance + %(amount)s WHERE id = %(account)s"
ENTER: Final = (
    "INSERT INTO ledger_entry (account, number, amount)"
    " VALUES (%(account)s, %(number)s, %(amount)s)"
)
LOOK: Final = (
    "SELECT counter, EXISTS (SELECT FROM ledger_entry"
    " WHERE account = %(account)s AND number = %(number)s)"
    " FROM ledger_account WHERE id = %(account)s"
)

Connection = psycopg.Connection[Any]


class Seen(NamedTuple):
    """What a read found of an account."""

    counter: int
    has_entry: bool


class Door(Protocol):
    """One session of one client; used by one thread. Errors are those of the way it goes."""

    name: str

    def insert(self, account: int, number: int) -> None: ...

    def add(self, account: int) -> int:
        """Count up; return the counter after it."""

    def remove(self, account: int, number: int) -> int:
        """Return how many rows were deleted."""

    def transfer(self, number: int, amounts: dict[int, int]) -> None:
        """Enter the amounts on their accounts, all of one slot, in one transaction."""

    def read(self, account: int, number: int) -> Seen | None:
        """Read the account where replicas may answer, and whether it has that entry."""

    def begin_session(self) -> bool:
        """Start anew after an error; False when what was written before is remembered."""

    def close(self) -> None: ...


OpenDoor = Callable[[], Door]


class LibraryDoor:
    """Through ``Router``: plain connections and ORM sessions in turn."""

    def __init__(self, router: Router) -> None:
        self.name = "library"
        self._router = router

    def insert(self, account: int, number: int) -> None:
        self._run(INSERT, account=account, number=number)

    def add(self, account: int) -> int:
        statement = (
            update(LedgerAccount)
            .where(LedgerAccount.id == account)
            .values(counter=LedgerAccount.counter + 1)
            .returning(LedgerAccount.counter)
        )
        with self._router.session(account) as session:
            counter = session.execute(statement).scalar_one()
            session.commit()
        return int(counter)

    def remove(self, account: int, number: int) -> int:
        return self._run(REMOVE, account=account, number=number)

    def transfer(self, number: int, amounts: dict[int, int]) -> None:
        with self._router.session(next(iter(amounts))) as session:
            for account, amount in sorted(amounts.items()):
                changed = session.get(LedgerAccount, account, with_for_update=True)
                if changed is None:
                    raise AssertionError(f"account {account} is gone")
                changed.balance += amount
                session.add(LedgerEntry(account=account, number=number, amount=amount))
            session.commit()

    def read(self, account: int, number: int) -> Seen | None:
        look = text(LOOK.replace("%(account)s", ":account").replace("%(number)s", ":number"))
        with self._router.session(account, read="replica") as session:
            row = session.execute(look, {"account": account, "number": number}).one_or_none()
        return None if row is None else Seen(*row)

    def begin_session(self) -> bool:
        return False  # the token belongs to the thread

    def close(self) -> None:
        pass

    def _run(self, query: str, *, account: int, number: int) -> int:
        with self._router.connection(account) as connection:
            given = {"account": account, "number": number}
            return connection.execute(query.encode(), given).rowcount


class ProxyDoor:
    """Through a proxy, which is told the key before each statement."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self.name = "proxy"
        self._connect = connect
        self._connection = connect()
        self._told: dict[str, str] = {}

    def insert(self, account: int, number: int) -> None:
        self._on(account).execute(INSERT, {"account": account, "number": number})

    def add(self, account: int) -> int:
        row = self._on(account).execute(ADD, {"account": account}).fetchone()
        if row is None:
            raise AssertionError(f"account {account} is gone")
        return int(row[0])

    def remove(self, account: int, number: int) -> int:
        return self._on(account).execute(REMOVE, {"account": account, "number": number}).rowcount

    def transfer(self, number: int, amounts: dict[int, int]) -> None:
        connection = self._on(next(iter(amounts)))
        with connection.transaction():
            for account, amount in sorted(amounts.items()):
                given = {"account": account, "number": number, "amount": amount}
                connection.execute(CHANGE, given)
                connection.execute(ENTER, given)

    def read(self, account: int, number: int) -> Seen | None:
        connection = self._on(account, role="replica")
        row = connection.execute(LOOK, {"account": account, "number": number}).fetchone()
        return None if row is None else Seen(*row)

    def begin_session(self) -> bool:
        """The proxy remembers by connection what was written."""
        if not (self._connection.closed or self._connection.broken):
            return False
        self._connection.close()
        self._told.clear()
        self._connection = self._connect()
        return True

    def close(self) -> None:
        self._connection.close()

    def _on(self, account: int, role: str = "primary") -> Connection:
        for setting, value in (("key", str(account)), ("role", role)):
            if self._told.get(setting) != value:
                self._told.pop(setting, None)
                self._connection.execute(f"SET shardrouter.{setting} = '{value}'".encode())
                self._told[setting] = value
        return self._connection
