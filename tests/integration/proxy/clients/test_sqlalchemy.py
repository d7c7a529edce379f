"""SQLAlchemy through the proxy, on psycopg and on asyncpg: ORM, reflection, pool, isolation."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from tests.support.proxy import ProxyProcess


class Model(DeclarativeBase):
    """The tables of these tests."""


class Author(Model):
    __tablename__ = "author"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(40), unique=True)
    extra: Mapped[dict[str, int]] = mapped_column(sa.JSON, default=dict)
    books: Mapped[list["Book"]] = relationship(back_populates="author", lazy="selectin")


class Book(Model):
    __tablename__ = "book"

    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(sa.ForeignKey("author.id"))
    title: Mapped[str]
    author: Mapped[Author] = relationship(back_populates="books")


def url(proxy: ProxyProcess, driver: str) -> sa.URL:
    return sa.URL.create(
        f"postgresql+{driver}",
        username="postgres",
        host="127.0.0.1",
        port=proxy.port,
        database=proxy.cluster.database,
    )


@pytest.fixture
def engine(either: ProxyProcess, schema: str) -> Iterator[sa.Engine]:
    made = sa.create_engine(
        url(either, "psycopg"),
        pool_size=3,
        max_overflow=2,
        pool_pre_ping=True,
        connect_args={"options": f"-c search_path={schema}", "prepare_threshold": 0},
    )
    Model.metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
async def async_engine(either: ProxyProcess, schema: str) -> AsyncIterator[AsyncEngine]:
    made = create_async_engine(
        url(either, "asyncpg"),
        pool_size=3,
        pool_pre_ping=True,
        connect_args={"server_settings": {"search_path": schema}, "ssl": False},
    )
    async with made.begin() as connection:
        await connection.run_sync(Model.metadata.create_all)
    yield made
    await made.dispose()


def test_orm(engine: sa.Engine):
    with Session(engine) as session:
        for number in range(20):
            books = [Book(title=f"book {n}") for n in range(3)]
            session.add(Author(name=f"author {number}", extra={"n": number}, books=books))
        session.commit()
        found = session.scalars(sa.select(Author).where(Author.name == "author 7")).one()
        assert (found.extra, len(found.books)) == ({"n": 7}, 3)
        found.name = "renamed"
        session.commit()
        session.delete(session.scalars(sa.select(Book)).first())
        session.commit()
    with Session(engine) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Book)) == 59
        assert session.scalar(sa.select(Author.id).where(Author.name == "renamed"))


def test_reflection(engine: sa.Engine, schema: str):
    inspector = sa.inspect(engine)
    assert set(inspector.get_table_names()) == {"author", "book"}
    assert inspector.get_foreign_keys("book")[0]["referred_table"] == "author"
    reflected = sa.MetaData()
    reflected.reflect(engine, schema=schema)
    assert set(reflected.tables) == {f"{schema}.author", f"{schema}.book"}


def test_savepoints(engine: sa.Engine):
    with Session(engine) as session:
        session.add(Author(name="kept"))
        session.flush()
        with pytest.raises(IntegrityError), session.begin_nested():
            session.add(Author(name="kept"))
            session.flush()
        session.commit()
        assert session.scalar(sa.select(sa.func.count()).select_from(Author)) == 1


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_isolation_levels(engine: sa.Engine, level: str):
    strict = engine.execution_options(isolation_level=level)
    with strict.connect() as connection:
        assert connection.scalar(sa.text("SHOW transaction_isolation")) == level.lower()
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SHOW transaction_isolation")) == "read committed"


def test_autocommit(engine: sa.Engine):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM author"))
        connection.execute(sa.insert(Author).values(name="at once", extra={}))
        connection.rollback()
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(Author)) == 1


def test_streamed_results(engine: sa.Engine):
    """stream_results uses a cursor of the server."""
    with engine.connect() as connection:
        options = {"stream_results": True, "yield_per": 50}
        query = sa.text("SELECT generate_series(1, 500)")
        rows = connection.execute(query, execution_options=options)
        assert [row[0] for row in rows] == list(range(1, 501))


def test_insert_many(engine: sa.Engine):
    with engine.begin() as connection:
        rows = [{"name": f"n{n}", "extra": {}} for n in range(2500)]
        told = connection.execute(sa.insert(Author).returning(Author.id), rows)
        assert len({row[0] for row in told}) == 2500


def test_two_phases(engine: sa.Engine):
    with engine.connect() as connection:
        transaction = connection.begin_twophase()
        connection.execute(sa.insert(Author).values(name="two phases", extra={}))
        transaction.prepare()
        transaction.commit()
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(Author)) == 1


def test_pre_ping_after_the_proxy_closed(engine: sa.Engine, either: ProxyProcess):
    """The pool finds out that its connection is gone and opens another."""
    with engine.connect() as connection:
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        connection.execute(sa.text("CREATE TEMP TABLE pinned (id int)"))
        connection.commit()
    with either.cluster.connect("s0-p") as direct:
        direct.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1


async def test_async_orm(async_engine: AsyncEngine):
    async with AsyncSession(async_engine, expire_on_commit=False) as session:
        session.add_all([Author(name=f"a{n}", books=[Book(title="b")]) for n in range(10)])
        await session.commit()
        found = (await session.scalars(sa.select(Author).order_by(Author.id))).all()
        assert [len(author.books) for author in found] == [1] * 10
        with pytest.raises(IntegrityError):
            async with session.begin_nested():
                session.add(Author(name="a1"))
        await session.commit()


async def test_async_many_at_once(async_engine: AsyncEngine):
    async def work(number: int) -> int:
        async with async_engine.begin() as connection:
            await connection.execute(sa.insert(Author).values(name=f"w{number}", extra={}))
            return int(await connection.scalar(sa.text("SELECT :n * 2"), {"n": number}) or 0)

    # asyncpg derives the parameter's type from the operator: an integer.
    assert await asyncio.gather(*map(work, range(40))) == [n * 2 for n in range(40)]


async def test_async_reflection_and_levels(async_engine: AsyncEngine):
    async with async_engine.connect() as connection:
        names = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
        assert set(names) == {"author", "book"}
    serial = async_engine.execution_options(isolation_level="SERIALIZABLE")
    async with serial.connect() as connection:
        assert await connection.scalar(sa.text("SHOW transaction_isolation")) == "serializable"
    auto = async_engine.execution_options(isolation_level="AUTOCOMMIT")
    async with auto.connect() as connection:
        await connection.execute(sa.text("VACUUM author"))


async def test_async_stream(async_engine: AsyncEngine):
    async with async_engine.connect() as connection:
        result = await connection.stream(sa.text("SELECT generate_series(1, 300)"))
        assert [row[0] async for row in result] == list(range(1, 301))


def test_error_keeps_its_code(engine: sa.Engine):
    with engine.connect() as connection, pytest.raises(DBAPIError) as caught:
        connection.execute(sa.text("SELECT 1/0"))
    assert getattr(caught.value.orig, "sqlstate", None) == "22012"
