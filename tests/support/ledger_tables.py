"""The tables of the ledger: accounts, and what was entered on them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import BigInteger, ForeignKey, Identity, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shardrouter.client import sharded
from shardrouter.topology import Slot, key_slot

ACCOUNTS: Final = "ledger_account"
ENTRIES: Final = "ledger_entry"


class Base(DeclarativeBase):
    pass


@sharded(by="id")
class LedgerAccount(Base):
    __tablename__ = ACCOUNTS
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    counter: Mapped[int] = mapped_column(BigInteger, server_default="0")
    balance: Mapped[int] = mapped_column(BigInteger)


@sharded(by="account")
class LedgerEntry(Base):
    __tablename__ = ENTRIES
    __table_args__ = (UniqueConstraint("account", "serial"),)
    account: Mapped[int] = mapped_column(
        BigInteger, ForeignKey(f"{ACCOUNTS}.id"), primary_key=True, autoincrement=False
    )
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    amount: Mapped[int] = mapped_column(BigInteger)
    serial: Mapped[int] = mapped_column(BigInteger, Identity())
    """From the shard's own sequence: one that was not set at a move collides with moved rows."""

    note: Mapped[str | None] = mapped_column(Text)


def accounts_in(slots: Iterable[int], of_each: int, slot_count: int) -> Mapping[Slot, list[int]]:
    """Return the first keys of each of the slots: accounts that stay together for ever."""
    wanted = {Slot(slot) for slot in slots}
    found: dict[Slot, list[int]] = defaultdict(list)
    missing, key = len(wanted) * of_each, 0
    while missing:
        key += 1
        slot = key_slot(key, slot_count)
        if slot in wanted and len(found[slot]) < of_each:
            found[slot].append(key)
            missing -= 1
    return dict(found)
