"""One plain Postgres database with the same rows: what every gathered answer is compared with."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Engine, Select, create_engine, make_url
from sqlalchemy.orm import Session

from demo.flights import COPY_FLIGHTS, blocks
from demo.loading import BLOCK_LINES
from demo.models import Base
from demo.report import Mismatch
from shardrouter import Router

DATABASE = "plain"


class PlainPostgres:
    """A database without shards, guards or replicas in the way."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def load(
        self, small: Sequence[Base], lines: Sequence[str], advance: Callable[[int], None]
    ) -> None:
        """Make the tables and fill them with the rows the shards hold."""
        Base.metadata.create_all(self._engine)
        with Session(self._engine) as session:
            session.add_all(small)
            session.commit()
        with (
            psycopg.connect(self.dsn) as connection,
            connection.cursor() as cursor,
            cursor.copy(COPY_FLIGHTS) as stream,
        ):
            for count, block in blocks(lines, BLOCK_LINES):
                stream.write(block)
                advance(count)

    @property
    def dsn(self) -> str:
        return self._engine.url.set(drivername="postgresql").render_as_string(hide_password=False)

    def answer(self, query: Select[*tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Return what the one database says."""
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(query)]


@contextmanager
def plain_postgres(router: Router) -> Iterator[PlainPostgres]:
    """Make an empty database on the first shard's server, beside the fleet's own."""
    server = router.topology.shards[0].primary.dsn
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    url = make_url(server).set(drivername="postgresql+psycopg", database=DATABASE)
    engine = create_engine(url)
    try:
        yield PlainPostgres(engine)
    finally:
        engine.dispose()


def compare(what: str, found: Sequence[tuple[Any, ...]], wanted: Sequence[tuple[Any, ...]]) -> None:
    """Raise Mismatch unless both are the same rows, values and types, in the same order."""
    if len(found) != len(wanted):
        raise Mismatch(f"{what}: {len(found)} rows gathered, plain Postgres has {len(wanted)}")
    for number, (ours, plain) in enumerate(zip(found, wanted, strict=True), start=1):
        if repr(ours) != repr(plain):  # repr tells 1 from 1.0 and Decimal("1") from Decimal("1.0")
            raise Mismatch(f"{what}, row {number}: gathered {ours!r}, plain Postgres {plain!r}")
