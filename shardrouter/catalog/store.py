"""Read and publish topologies, and keep the register of routers.

The one place that raises the epoch. Publishing and heartbeats meet at an advisory lock: a
heartbeat that was answered "epoch N is current" is visible to whoever publishes N + 1, so the
publisher knows every router that may still serve N.
"""

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import psycopg
from sqlalchemy import Connection, Engine, delete, exc, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from shardrouter.catalog.connect import answering
from shardrouter.catalog.current import (
    current_fleet,
    current_topology,
    epoch_and_topology,
    lock_fleet_durably,
    note,
    raise_epoch,
)
from shardrouter.catalog.heartbeat import beat, one_journey
from shardrouter.catalog.install import check_schema
from shardrouter.catalog.journal import TransactionJournal
from shardrouter.catalog.moves import MoveStore
from shardrouter.catalog.records import Fleet, JournalEvent, LiveRouter, Publication, Registration
from shardrouter.catalog.router_loads import RouterLoads
from shardrouter.catalog.schema import fleet, journal, routers, topology
from shardrouter.errors import CommitInDoubt, SettingsError, StaleEpoch, UnknownShard
from shardrouter.topology import Epoch, Topology, is_valid_slot_count

HISTORY_LIMIT: Final = 20
_NOT_YET: Final = Epoch(0)


class CatalogStore:
    """The catalog database. Every method is one short transaction; threads may share a store.

    Every method raises CatalogUnavailable when the database does not answer in time, and
    SettingsError when no catalog is installed there.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def check(self) -> None:
        """Raise SettingsError unless the catalog's tables are of this shardrouter's revision."""
        with answering(), self._engine.connect() as connection:
            check_schema(connection)

    def close(self) -> None:
        """Close the idle connections."""
        self._engine.dispose()

    def transactions(self) -> TransactionJournal:
        """Return the journal of transactions over shards, in the same database."""
        return TransactionJournal(self._engine)

    def moves(self) -> MoveStore:
        """Return the moves of slots, in the same database."""
        return MoveStore(self._engine, self.publish)

    def router_loads(self) -> RouterLoads:
        """Return the queries by slot that routers report, in the same database."""
        return RouterLoads(self._engine)

    # The fleet and its topology

    def found(self, slots: int, *, actor: str) -> Fleet:
        """Make the fleet unless there is one, and return it. Its slot count is for life."""
        if not is_valid_slot_count(slots):
            raise SettingsError(
                f"{slots} slots is not a power of two from 16 to 16384", hint="4096 fits most"
            )
        with answering(), self._engine.begin() as connection:
            made = connection.execute(
                upsert(fleet).values(slots=slots).on_conflict_do_nothing().returning(fleet.c.id)
            ).scalar()
            if made is not None:
                detail = {"fleet": str(made), "slots": slots}
                note(connection, actor, "a new fleet", "fleet_founded", detail)
            found = current_fleet(connection)
        if found.slots != slots:
            raise _other_slot_count(found, slots)
        return found

    def fleet(self) -> Fleet:
        """Return who the fleet is. Raises SettingsError when none was founded."""
        with answering(), self._engine.connect() as connection:
            return current_fleet(connection)

    def epoch(self) -> Epoch:
        """Return the epoch of the newest topology, 0 when there is none."""
        return self.fleet().epoch

    def find(self) -> Topology | None:
        """Return the newest topology, or None when none was published yet."""
        with answering(), self._engine.connect() as connection:
            return current_topology(connection)

    def look(self, served: Epoch) -> tuple[Epoch, Topology | None]:
        """Return the current epoch, and its topology unless that is the one of epoch ``served``."""
        with one_journey(self._engine) as connection:
            return epoch_and_topology(connection, served)

    def load(self) -> Topology:
        """Return the newest topology. Raises UnknownShard when the fleet has no shard yet."""
        found = self.find()
        if found is None:
            self.fleet()
            raise UnknownShard(
                "the fleet has no shards yet",
                epoch=0,
                hint="add the first one: `shardrouter shard add s0 --primary DSN`",
            )
        return found

    def load_at(self, epoch: Epoch) -> Topology:
        """Return the topology of that epoch. Raises UnknownShard when there was none."""
        with answering(), self._engine.connect() as connection:
            document = connection.scalar(
                select(topology.c.document).where(topology.c.epoch == epoch)
            )
        if document is None:
            raise UnknownShard(
                f"no topology was published at epoch {epoch}",
                epoch=epoch,
                hint="list the epochs with `shardrouter topology history`",
            )
        return Topology.from_document(document)

    def history(self, limit: int = HISTORY_LIMIT) -> list[Publication]:
        """Return who published which epoch, newest first."""
        columns = topology.c
        with answering(), self._engine.connect() as connection:
            rows = connection.execute(
                select(columns.epoch, columns.published_at, columns.actor, columns.reason)
                .order_by(columns.epoch.desc())
                .limit(limit)
            )
            return [Publication(Epoch(r.epoch), r.published_at, r.actor, r.reason) for r in rows]

    def publish(
        self,
        new: Topology,
        *,
        expected: Epoch,
        actor: str,
        reason: str,
        first: Callable[[Connection], object] = lambda _: None,
    ) -> None:
        """Make ``new`` the current topology if ``expected`` still is the current epoch.

        ``new.epoch`` is ``expected + 1``, as ``Topology.next`` gives it. Routers are notified in
        the same transaction. What ``first`` does with its connection takes place if and only if
        the epoch is raised; what it raises stops the publication.

        Raises StaleEpoch when somebody else published first, SettingsError for another slot count
        than the fleet's, CommitInDoubt when the connection broke during COMMIT and the catalog
        cannot be asked what became of it.
        """
        if new.epoch != expected + 1:
            raise ValueError(f"epoch {new.epoch} does not follow {expected}")
        raising = raise_epoch(new, expected, actor, reason)
        with answering(), self._engine.connect() as connection:
            # Routers and shards act on a publication: no crash may take it back.
            lock_fleet_durably(connection)
            first(connection)
            if connection.execute(raising).one_or_none() is None:
                raise _refused(connection, new, expected)
            self._commit(connection, new, actor, reason)

    def _commit(self, connection: Connection, new: Topology, actor: str, reason: str) -> None:
        try:
            connection.commit()
        except exc.DBAPIError as error:
            if not error.connection_invalidated:
                raise
            if not self._was_published(new, actor, reason, error):
                raise

    def _was_published(self, new: Topology, actor: str, reason: str, error: exc.DBAPIError) -> bool:
        """Ask again, on another connection, whether a COMMIT that broke took place."""
        try:
            with self._engine.connect() as connection:
                columns = topology.c
                row = connection.execute(
                    select(columns.document, columns.actor, columns.reason).where(
                        columns.epoch == new.epoch
                    )
                ).one_or_none()
        except (exc.DBAPIError, psycopg.Error):
            raise CommitInDoubt(
                "the catalog went away while the topology was published",
                epoch=new.epoch,
                hint="when it is back, see with `shardrouter topology history` whether the epoch"
                " is there, and repeat the command if it is not",
            ) from error
        if row is None or (row.actor, row.reason) != (actor, reason):
            return False
        return Topology.from_document(row.document) == new

    # Routers

    def heartbeat(
        self,
        me: Registration,
        epoch: Epoch,
        lease_seconds: float,
        drained_epoch: Epoch = _NOT_YET,
        writers_drained_epoch: Epoch = _NOT_YET,
    ) -> Epoch:
        """Register or renew a router that serves ``epoch`` (0: none yet); return the current one.

        drained_epoch, writers_drained_epoch: see ``control.Drain``.

        Also prunes the routers whose lease ran out. Raises SettingsError when the catalog holds
        another fleet than ``me.fleet``.
        """
        with one_journey(self._engine) as connection:
            found = beat(connection, me, epoch, lease_seconds, drained_epoch, writers_drained_epoch)
        if found.id != me.fleet:
            raise _other_fleet(found.id, me.fleet)
        return found.epoch

    def sign_off(self, router: UUID) -> None:
        """Forget a router that ends: nobody needs to wait for its lease."""
        with answering(), self._engine.begin() as connection:
            connection.execute(delete(routers).where(routers.c.id == router))

    def routers(self) -> list[LiveRouter]:
        """Return the routers whose lease has not run out, oldest first."""
        living = (
            select(routers)
            .where(routers.c.expires_at >= func.clock_timestamp())
            .order_by(routers.c.registered_at)
        )
        with one_journey(self._engine) as connection:
            return [LiveRouter(**row) for row in connection.execute(living).mappings()]

    # The journal

    def note(self, *, actor: str, reason: str, kind: str, **detail: Any) -> None:
        """Write one event into the journal."""
        with answering(), self._engine.begin() as connection:
            note(connection, actor, reason, kind, detail)

    def events(self, limit: int = HISTORY_LIMIT) -> list[JournalEvent]:
        """Return the newest events of the journal, newest first."""
        columns = journal.c
        newest = (
            select(columns.at, columns.actor, columns.reason, columns.kind, columns.detail)
            .order_by(columns.id.desc())
            .limit(limit)
        )
        with answering(), self._engine.connect() as connection:
            return [JournalEvent(**row) for row in connection.execute(newest).mappings()]


def _refused(connection: Connection, new: Topology, expected: Epoch) -> SettingsError | StaleEpoch:
    found = current_fleet(connection)
    if found.slots != new.slots:
        return _other_slot_count(found, new.slots)
    return _stale(connection, expected, found.epoch)


def _stale(connection: Connection, expected: Epoch, current: Epoch) -> StaleEpoch:
    row = connection.execute(select(topology).where(topology.c.epoch == current)).one_or_none()
    by = f", published by {row.actor} at {row.published_at:%F %T} ({row.reason})" if row else ""
    return StaleEpoch(
        f"the topology is at epoch {current}{by}; this change was based on epoch {expected}",
        epoch=current,
        hint=f"see what changed with `shardrouter topology diff {expected} {current}`,"
        " then run the command again",
    )


def _other_slot_count(found: Fleet, slots: int) -> SettingsError:
    return SettingsError(
        f"the fleet has {found.slots} slots for life, not {slots}",
        epoch=found.epoch,
        hint="keep the count, or found a new fleet in another catalog database",
    )


def _other_fleet(found: UUID, expected: UUID) -> SettingsError:
    return SettingsError(
        f"the catalog now holds fleet {found}, this router belongs to {expected}",
        hint="catalog.dsn points to another database: mend it and start the router again",
    )
