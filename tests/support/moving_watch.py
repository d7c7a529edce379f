"""Look at a fleet all the time while slots move, and write where nobody may."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Final

import psycopg

from shardrouter.errors import ShardRouterError
from shardrouter.topology import (
    Epoch,
    KeyColumn,
    KeyType,
    Topology,
    key_slot,
    slot_sql,
)
from tests.support.cluster import Connection
from tests.support.eventually import PATIENCE
from tests.support.ledger import Kind, Outcome, Write
from tests.support.ledger_doors import INSERT
from tests.support.moving_bed import MovingBed, NoPrimaryNow

JOIN_SECONDS: Final = 30.0
NOT_OWNED: Final = "SR001"
PASSING: Final = ("08", "57P", "55P03", "40", "42P01")
"""Of servers that are away, and of a shard that has no tables yet."""

KEYS: Final = {"ledger_account": "id", "ledger_entry": "account"}


class Watch:
    """Repeats a look in a thread and collects what it finds wrong."""

    def __init__(self, look: Callable[[], list[str]], pause_seconds: float) -> None:
        self.found: list[str] = []
        self.looks = 0
        """Those that came to a result; servers that are down give none."""

        self._look = look
        self._pause_seconds = pause_seconds
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @contextmanager
    def running(self) -> Iterator["Watch"]:
        """Look for as long as the block; fail at its end when anything was wrong."""
        self._thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            self._thread.join(JOIN_SECONDS * PATIENCE)
        assert not self._thread.is_alive(), "a watch hangs"
        if self.found:
            raise AssertionError("\n".join(self.found))

    def _run(self) -> None:
        while not self._is_over.is_set():
            try:
                self.found += self._look()
                self.looks += 1
            except (psycopg.Error, ShardRouterError, NoPrimaryNow):
                pass  # a server is down: that is what the test does
            except BaseException as error:
                self.found.append(f"the watch ended: {error!r}")
                return
            self._is_over.wait(self._pause_seconds)


class Held:
    """A connection that is opened when it is needed, and anew after an error."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._connection: Connection | None = None

    @contextmanager
    def lent(self) -> Iterator[Connection]:
        if self._connection is None:
            self._connection = self._connect()
        try:
            yield self._connection
        except psycopg.OperationalError:
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None


class EpochWatch:
    """The epoch of the catalog never goes back."""

    def __init__(self, bed: MovingBed) -> None:
        self.highest = 0
        self.connection = Held(lambda: bed.fleet.catalog.connect(bed.cluster.catalog_database))

    def __call__(self) -> list[str]:
        with self.connection.lent() as connection:
            row = connection.execute("SELECT epoch FROM shardrouter.fleet").fetchone()
        assert row is not None
        before, self.highest = self.highest, max(self.highest, row[0])
        return [f"the epoch went from {before} to {row[0]}"] if row[0] < before else []


class ForeignRowsWatch:
    """A shard holds rows of slots it does not own only where a motion says so."""

    def __init__(self, bed: MovingBed, shards: Sequence[str]) -> None:
        self._bed = bed
        self.connections = {shard: Held(partial(bed.primary, shard)) for shard in shards}

    def __call__(self) -> list[str]:
        before = self._bed.topology
        found = []
        for shard, held in self.connections.items():
            with held.lent() as connection:
                found += [
                    f"{shard}.{table} holds rows of slot {slot}"
                    for table, key in KEYS.items()
                    for slot in _slots_in(connection, table, key, before.slots)
                    if not _may_hold(before, slot, shard)
                ]
        # Rows come after the publication that allows them, and go before the one that does not.
        return found if self._bed.catalog.epoch() == before.epoch else []


class Trespasser:
    """Inserts, past every router, into shards that do not own the row: SR001 each time."""

    def __init__(self, bed: MovingBed, shards: Sequence[str], rng: random.Random) -> None:
        self.refused = 0
        self._bed = bed
        self._rng = rng
        self.connections = {shard: Held(partial(bed.primary, shard)) for shard in shards}

    def __call__(self) -> list[str]:
        before = self._bed.topology
        account = self._rng.choice(self._bed.ledger.accounts)
        slot = key_slot(account, before.slots)
        strangers = [shard for shard in self.connections if before.owners[slot] != shard]
        shard = self._rng.choice(strangers)
        given = {"account": account, "number": self._bed.ledger.next_number()}
        try:
            with self.connections[shard].lent() as connection:
                connection.execute(INSERT, given)
        except psycopg.Error as error:
            if error.sqlstate == NOT_OWNED:
                self.refused += 1
                return []
            return self._unexpected(error, shard, account)
        self._bed.ledger.note(
            Write(Kind.INSERT, given["number"], {account: 0}, Outcome.ACKNOWLEDGED)
        )
        if self._became_owner(before, slot, shard):
            return []
        return [f"{shard} accepted a row of account {account} at epoch {before.epoch}"]

    def _unexpected(self, error: psycopg.Error, shard: str, account: int) -> list[str]:
        if error.sqlstate is None or error.sqlstate.startswith(PASSING):
            return []
        return [f"{shard} refused account {account} with {error.sqlstate}: {error}"]

    def _became_owner(self, before: Topology, slot: int, shard: str) -> bool:
        catalog = self._bed.catalog
        return any(
            catalog.load_at(Epoch(epoch)).owners[slot] == shard
            for epoch in range(before.epoch + 1, catalog.epoch() + 1)
        )


@contextmanager
def watched(
    bed: MovingBed, shards: Sequence[str] | None = None, seed: int = 1
) -> Iterator[Trespasser]:
    """Watch epoch and rows, and trespass, for as long as the block; fail at the first wrong."""
    chosen = bed.shards if shards is None else shards
    epochs, rows = EpochWatch(bed), ForeignRowsWatch(bed, chosen)
    trespasser = Trespasser(bed, chosen, random.Random(seed))
    with ExitStack() as stack:
        for held in (
            epochs.connection,
            *rows.connections.values(),
            *trespasser.connections.values(),
        ):
            stack.callback(held.close)
        stack.enter_context(Watch(epochs, 0.005).running())
        stack.enter_context(Watch(rows, 0.05).running())
        stack.enter_context(Watch(trespasser, 0.01).running())
        yield trespasser


def _slots_in(connection: Connection, table: str, key: str, slots: int) -> list[int]:
    slot = slot_sql((KeyColumn(key, KeyType.INT8),), slots)
    query = f"SELECT DISTINCT {slot} FROM {table}"
    return [int(found) for (found,) in connection.execute(query.encode()).fetchall()]


def _may_hold(topology: Topology, slot: int, shard: str) -> bool:
    if topology.owners[slot] == shard:
        return True
    return any(
        slot in motion.slots and shard in (motion.source, motion.target)
        for motion in topology.motions
    )
