"""Some shards of a fleet with the ledger's tables, ready for moves; what must hold after them."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import psycopg
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from shardrouter import Router
from shardrouter.catalog import CatalogStore, Move, MoveStore, NewMove, catalog_engine
from shardrouter.errors import StaleEpoch
from shardrouter.local import LocalFleet
from shardrouter.postgres import check_guards
from shardrouter.topology import DEFAULT_SLOTS, Shard, ShardId, Slot, Topology, plan_owners
from tests.support.cluster import Cluster, Connection
from tests.support.eventually import eventually
from tests.support.ledger import Contents, Ledger, problems
from tests.support.ledger_shards import holder_by, open_accounts, owner_by, read_contents
from tests.support.ledger_tables import ADD_SERIAL, HAS_SERIAL, Base, accounts_in
from tests.support.moving_leftovers import catalog_leftovers, leftovers

QUICK: Final[Mapping[str, Any]] = {
    "mover_lease_seconds": 2,
    "soak_seconds": 0,
    "retry_cutover_seconds": 0.2,
    "take_over": False,
}
"""Settings of a test that does not want to wait; tests replace a mover that died themselves."""

TIMELINE: Final = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name("
    "pg_current_wal_lsn()), 8) END"
)

_NUMBERS: Final = itertools.count(1)


class NoPrimaryNow(Exception):
    """No node of a shard answers and takes writes."""


class MovingBed:
    """One test's databases on some shards of a fleet, its catalog, its ledger."""

    def __init__(
        self,
        fleet: LocalFleet,
        folder: Path,
        shards: Sequence[str] = ("s0", "s1"),
        *,
        slots: int = DEFAULT_SLOTS,
        rebalance: Mapping[str, Any] | None = None,
        ports: Mapping[str, int] | None = None,
        is_private: bool = False,
        is_quick: bool = True,
        **sections: Mapping[str, Any],
    ) -> None:
        """ports: of relays in front of nodes, and of the catalog for movers.

        is_quick: with settings for the impatient; the defaults otherwise.
        is_private: the fleet goes with the test, in whatever state the test leaves it.
        """
        self.fleet = fleet
        self.folder = folder
        self.is_private = is_private
        self._ports = dict(ports or {})
        self.cluster = Cluster(fleet, next(_NUMBERS), folder / "shardrouter.toml")
        self.cluster.database = f"moving{next(_NUMBERS)}"
        self.cluster.topology = _first(
            fleet.topology(slots, self.cluster.database), shards, self._ports
        )
        self.settings = {
            "catalog": {"dsn": self.cluster.catalog_dsn},
            "rebalance": {**(QUICK if is_quick else {}), **(rebalance or {})},
            **sections,
        }
        self.ledger = Ledger(())
        self.groups: Mapping[Slot, list[int]] = {}
        self._engine: Engine | None = None
        self._before: dict[str, set[str]] = {}

    # Life

    def make(self) -> "MovingBed":
        """Make databases, catalog and tables; found the fleet."""
        self.cluster.make()
        self.cluster.publish()
        self.settings_path.write_text(settings_text(self.settings))
        port = self._ports.get("catalog")
        dsn = self.cluster.catalog_dsn
        catalog = {"dsn": dsn if port is None else _through(dsn, port)}
        self.mover_settings_path.write_text(settings_text({**self.settings, "catalog": catalog}))
        self._engine = catalog_engine(self.cluster.catalog_dsn)
        with self.router() as router:
            self.make_tables(router)
        self._before = {shard: set(self._leftovers(shard)) for shard in self.shards}
        return self

    def make_tables(self, router: Router) -> None:
        """Make the tables on every shard that has none yet, with their guards."""
        router.create_all(Base)
        for shard in self.shards:
            if not self.one(shard, HAS_SERIAL):
                with self.primary(shard) as connection:
                    connection.execute(ADD_SERIAL)

    def drop(self) -> None:
        """Drop the databases. The servers run."""
        self.close()
        for server in self.cluster.primaries():
            with server.connect(self.cluster.database) as connection:
                drop_subscriptions(connection)
        self.cluster.drop()

    def close(self) -> None:
        """Close the connections to the catalog."""
        if self._engine is not None:
            self._engine.dispose()

    @property
    def settings_path(self) -> Path:
        return self.cluster.settings_path

    @property
    def mover_settings_path(self) -> Path:
        """As ``settings_path``, but with the relay before the catalog if there is one."""
        return self.folder / "mover.toml"

    @contextmanager
    def router(self) -> Iterator[Router]:
        """Open a router of the library."""
        with Router.from_config(self.settings_path) as router:
            yield router

    # The catalog

    @property
    def engine(self) -> Engine:
        assert self._engine is not None
        return self._engine

    @property
    def catalog(self) -> CatalogStore:
        return CatalogStore(self.engine)

    @property
    def moves(self) -> MoveStore:
        return self.catalog.moves()

    @property
    def topology(self) -> Topology:
        return self.catalog.load()

    def publish(self, make: Callable[[Topology], Topology]) -> None:
        """Publish ``make(newest topology)``, again when somebody else was faster."""
        while True:
            current = self.topology
            try:
                self.catalog.publish(
                    make(current), expected=current.epoch, actor="tests", reason="a test"
                )
            except StaleEpoch:
                continue
            return

    @property
    def shards(self) -> tuple[str, ...]:
        """The shards of the newest topology."""
        return tuple(str(shard.id) for shard in self.topology.shards)

    def slots_of(self, shard: str, count: int, *, skip: int = 0) -> tuple[Slot, ...]:
        """Return the first slots the shard owns."""
        return self.topology.slots_of(ShardId(shard))[skip : skip + count]

    def create_move(
        self, slots: Iterable[int], source: str = "s0", target: str = "s1", **options: Any
    ) -> int:
        """Note a move in the catalog and return its number; nobody carries it out yet."""
        chosen = tuple(Slot(slot) for slot in sorted(slots))
        new = NewMove(chosen, ShardId(source), ShardId(target), **{"soak_seconds": 0.0, **options})
        return self.moves.create(new, actor="tests", reason="a test").number

    def is_free(self, number: int) -> bool:
        """True when nobody holds a lease on the move."""
        query = text(
            "SELECT owner IS NULL OR owner_expires_at < clock_timestamp()"
            " FROM shardrouter.moves WHERE number = :number"
        )
        with self.engine.connect() as connection:
            return bool(connection.execute(query, {"number": number}).scalar_one())

    def set_soak(self, number: int, seconds: float) -> None:
        """Change how long a move soaks, as if it had been made so."""
        changed = text("UPDATE shardrouter.moves SET soak_seconds = :s WHERE number = :n")
        with self.engine.begin() as connection:
            connection.execute(changed, {"s": seconds, "n": number})

    def move(self, number: int) -> Move:
        return self.moves.find(number)

    # Shards

    def primary(self, shard: str) -> Connection:
        """Open an autocommit connection to the node of the shard that is its primary now.

        Of several that take writes that is the one on the latest timeline. Raises NoPrimaryNow.
        """
        found: dict[str, Connection] = {}
        with ExitStack() as stack:
            for server in self.fleet.nodes:
                if server.shard_id == shard and server.is_running():
                    connection = server.connect(self.cluster.database)
                    stack.callback(connection.close)
                    row = connection.execute(TIMELINE).fetchone()
                    assert row is not None
                    found[row[0]] = connection
            latest = max(found, default="")
            if not latest:
                raise NoPrimaryNow(shard)
            stack.pop_all()
        primary = found.pop(latest)
        for connection in found.values():
            connection.close()
        return primary

    def one(self, shard: str, query: str, *values: object) -> Any:
        with self.primary(shard) as connection:
            row = connection.execute(query.encode(), values or None).fetchone()
        assert row is not None
        return row[0]

    def contents(self) -> dict[str, Contents]:
        """Return the ledger's rows on every shard."""
        found = {}
        for shard in self.shards:
            with self.primary(shard) as connection:
                found[shard] = read_contents(connection)
        return found

    # The ledger

    def open_accounts(
        self, slots: Iterable[int], of_each: int = 3, *, router: Router | None = None
    ) -> None:
        """Open accounts in each of the slots; a workload writes to these."""
        groups = accounts_in(slots, of_each, self.topology.slots)
        chosen = [account for group in groups.values() for account in group]
        if router is None:
            with self.router() as opened:
                accounts = open_accounts(opened, chosen)
        else:
            accounts = open_accounts(router, chosen)
        self.groups = {**self.groups, **groups}
        self.ledger.accounts = (*self.ledger.accounts, *accounts)

    def fill(self, shard: str, rows: int) -> None:
        """Enter so many rows more on the accounts of a shard, straight and at once."""
        owner_of = owner_by(self.topology)
        mine = [account for account in self.ledger.accounts if owner_of(account) == shard]
        numbers = [self.ledger.next_number() for _ in range(rows)]
        pairs = list(zip(itertools.cycle(mine), numbers, strict=False))
        with self.primary(shard) as connection, connection.cursor() as cursor:
            columns = "COPY ledger_entry (account, number, amount, note) FROM STDIN"
            with cursor.copy(columns) as copy:
                for account, number in pairs:
                    copy.write_row((account, number, 0, "x" * (number % 200)))
        self.ledger.note_rows(pairs)

    # What must hold

    def problems(self, *, is_clean: bool = True) -> list[str]:
        """Return what is wrong while nobody writes.

        is_clean: nothing may be left of any move; otherwise a motion may explain foreign rows.
        """
        topology = self.topology
        found = problems(self.ledger, self.contents(), owner_by(topology), holder_by(topology))
        found += self.guard_problems()
        if is_clean:
            found += [f"in the catalog: {what}" for what in catalog_leftovers(self.engine)]
            for shard in self.shards:
                left = set(self._leftovers(shard)) - self._before.get(shard, set())
                found += [f"left on {shard}: {what}" for what in sorted(left)]
        return found

    def wait_clean(self, deadline_seconds: float = 10.0) -> None:
        """Wait until nothing is wrong: servers tell some ends a moment later."""
        last: list[str] = []

        def is_well() -> bool:
            last[:] = self.problems()
            return not last

        try:
            eventually(is_well, deadline_seconds)
        except AssertionError:
            raise AssertionError("\n".join(["", *last])) from None

    def guard_problems(self) -> list[str]:
        """Return the guards that do not stand as the newest topology wants them."""
        found, topology = [], self.topology
        for shard in self.shards:
            with self.primary(shard) as connection:
                dsn = f"postgresql+psycopg://postgres@127.0.0.1:{connection.info.port}"
            engine = create_engine(f"{dsn}/{self.cluster.database}", poolclass=NullPool)
            with engine.connect() as asked:
                reports = check_guards(asked, topology, ShardId(shard))
            found += [f"guard on {shard}: {report}" for report in reports if not report.is_ok]
        return found

    def _leftovers(self, shard: str) -> list[str]:
        with self.primary(shard) as connection:
            return leftovers(connection)


def drop_subscriptions(connection: psycopg.Connection[Any]) -> None:
    """Drop what is left of subscriptions, so that the database can be dropped."""
    query = (
        "SELECT quote_ident(subname) FROM pg_subscription JOIN pg_database ON oid = subdbid"
        " WHERE datname = current_database()"
    )
    for (name,) in connection.execute(query.replace("oid", "pg_database.oid").encode()).fetchall():
        for statement in ("DISABLE", "SET (slot_name = NONE)"):
            connection.execute(f"ALTER SUBSCRIPTION {name} {statement}".encode())
        connection.execute(f"DROP SUBSCRIPTION {name}".encode())


def settings_text(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the settings as a file says them."""
    lines = []
    for name, values in sections.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {_told(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _told(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _first(topology: Topology, shards: Sequence[str], ports: Mapping[str, int]) -> Topology:
    chosen = tuple(_rerouted(shard, ports) for shard in topology.shards if shard.id in shards)
    owners = plan_owners(None, {shard.id: shard.weight for shard in chosen}, topology.slots)
    return Topology(topology.epoch, chosen, owners)


def _rerouted(shard: Shard, ports: Mapping[str, int]) -> Shard:
    nodes = tuple(
        replace(node, dsn=_through(node.dsn, ports[node.id])) if node.id in ports else node
        for node in shard.nodes
    )
    return replace(shard, nodes=nodes)


def _through(dsn: str, port: int) -> str:
    return re.sub(r":\d+/", f":{port}/", dsn)
