"""The models of the client tests: users and their orders by user, countries everywhere."""

from typing import Any, Final

from sqlalchemy import BigInteger, ForeignKey, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from shardrouter.client import local, reference, sharded

CREATE_TABLES: Final = """
CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (
    id bigint, user_id bigint NOT NULL REFERENCES users, note text,
    PRIMARY KEY (user_id, id));
CREATE TABLE countries (code text PRIMARY KEY, name text NOT NULL);
CREATE TABLE audit (id bigint PRIMARY KEY, what text);
"""


class Base(DeclarativeBase):
    pass


@sharded(by="id")
class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(Text)
    orders: Mapped[list["Order"]] = relationship(back_populates="user")


@sharded(by="user_id")
class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    note: Mapped[str | None] = mapped_column(Text)
    user: Mapped[User] = relationship(back_populates="orders")


@reference
class Country(Base):
    __tablename__ = "countries"
    code: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)


@local(shard="s0")
class Audit(Base):
    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    what: Mapped[str | None] = mapped_column(Text)


def keys_on(router: Any, shard: str, count: int) -> list[int]:
    """Return the first integer keys that live on a shard, each of another slot."""
    found: dict[int, int] = {}
    for key in range(1, 100_000):
        if router.shard_of(key).id == shard:
            found.setdefault(router.slot_of(key), key)
        if len(found) == count:
            return list(found.values())
    raise AssertionError(f"no {count} keys on {shard}")
