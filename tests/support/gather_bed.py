"""Three shards and one plain Postgres with the same rows, to compare answers."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, Result, Select, create_engine, event, insert
from sqlalchemy.orm import Session

from shardrouter.client.gathering.gather import gather
from shardrouter.client.gathering.plans import GatherPlans
from shardrouter.client.gathering.run import GatherLimits
from shardrouter.client.runtime import ThreadRuntime
from shardrouter.local import LocalFleet
from shardrouter.sql import OwnRows
from shardrouter.topology import ShardId, Topology
from tests.support.gather_motions import moving, strangers_on
from tests.support.gather_tables import Base, Kind, Note, Part, Thing

SHARDS = tuple(ShardId(name) for name in ("g0", "g1", "g2"))
WHOLE = "gw"
_HOSTS = {"g0": "s0-p", "g1": "s1-p", "g2": "s0-p", WHOLE: "s1-p"}
_LOCALES = ("en_US.utf8", "en_US.UTF-8", "de_DE.utf8", "C.utf8", "C.UTF-8", "C")

Rows = Sequence[dict[str, Any]]


class GatherBed:
    """Databases g0, g1, g2 (the shards) and gw (all rows) on the servers of a fleet."""

    def __init__(self, fleet: LocalFleet) -> None:
        self.plans = GatherPlans()
        self.runtime = ThreadRuntime(4)
        self.engines = {name: _make(fleet, name, server) for name, server in _HOSTS.items()}
        self.topology: Topology = moving(SHARDS)
        """In it slots are on their way: what ``load`` is told to plant foreign rows by."""

        self.own: OwnRows | None = None
        kinds = [{"id": i, "name": f"kind {i}"} for i in range(4)]
        for name, engine in self.engines.items():
            with engine.begin() as connection:
                connection.execute(insert(Kind), kinds)
                if name in ("g0", WHOLE):
                    connection.execute(insert(Note), [{"id": 1, "text": "here"}])

    def close(self) -> None:
        """Close the pools; the databases go with the fleet."""
        self.runtime.close()
        for engine in self.engines.values():
            engine.dispose()

    def load(self, things: Rows, parts: Rows = (), *, strangers: bool = False) -> None:
        """Replace all rows of the sharded tables, on the shards and on the one Postgres.

        strangers: the shards hold rows besides that they do not own, older and deleted ones too.
        """
        self.own = OwnRows(self.topology) if strangers else None
        for name, engine in self.engines.items():
            own_things = [row for row in things if _is_on(name, row["uid"])]
            own_parts = [row for row in parts if _is_on(name, row["owner"])]
            with engine.begin() as connection:
                connection.exec_driver_sql("TRUNCATE thing, part")
                _insert(connection, Thing, own_things)
                _insert(connection, Part, own_parts)
                if strangers and name != WHOLE:
                    more = strangers_on(self.topology, ShardId(name), things, parts)
                    _insert(connection, Thing, more[0])
                    _insert(connection, Part, more[1])

    def gather(
        self,
        statement: Any,
        *,
        max_rows: int = 100_000,
        shards: Sequence[ShardId] = SHARDS,
        asked: list[str] | None = None,
    ) -> Result[Any]:
        """Answer over the shards; ``asked`` gets the name of each shard connected to."""

        def connect(shard: ShardId) -> Connection:
            if asked is not None:
                asked.append(shard)
            return self.engines[shard].connect()

        return gather(
            statement,
            shards,
            connect,
            self.runtime.fan_out,
            self.runtime.wait_ready,
            limits=GatherLimits(max_rows),
            plans=self.plans,
            own=self.own,
        )

    def forget_plans(self) -> None:
        """Start with no plan, as after a restart."""
        self.plans = GatherPlans()

    def statements(self, run: Callable[[], object]) -> list[tuple[str, Any]]:
        """Return the SQL and parameters that the shards were sent while something ran."""
        seen: list[tuple[str, Any]] = []

        def note(c: Any, cursor: Any, sql: str, values: Any, context: Any, many: bool) -> None:
            seen.append((sql, values))

        for name in SHARDS:
            event.listen(self.engines[name], "before_cursor_execute", note)
        run()
        for name in SHARDS:
            event.remove(self.engines[name], "before_cursor_execute", note)
        return seen

    def whole(self, statement: Select[Any]) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return keys and rows of the one Postgres that holds all rows."""
        with self.engines[WHOLE].connect() as connection:
            result = connection.execute(statement)
            return list(result.keys()), [tuple(row) for row in result]

    def whole_entities(self, statement: Select[Any]) -> list[Any]:
        """Return the instances a session on the one Postgres loads, detached."""
        with Session(self.engines[WHOLE]) as session:
            found = list(session.scalars(statement))
            session.expunge_all()
            return found


def _is_on(name: str, uid: int) -> bool:
    return name == WHOLE or name == SHARDS[uid % len(SHARDS)]


def _insert(connection: Connection, model: Any, rows: Rows) -> None:
    if rows:
        connection.execute(insert(model), rows)


def _make(fleet: LocalFleet, name: str, server_id: str) -> Engine:
    server = fleet.node(server_id)
    with server.connect("postgres") as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {name}".encode())
    with server.connect(name) as connection:
        for locale in _LOCALES:
            with suppress(psycopg.Error):  # this machine has no such locale
                connection.execute(
                    f"CREATE COLLATION bed_words (provider = libc, locale = '{locale}')".encode()
                )
                break
    dsn = server.dsn(name)
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    Base.metadata.create_all(engine)
    return engine
