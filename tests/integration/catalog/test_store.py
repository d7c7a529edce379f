"""The catalog store on a real Postgres: publishing, history, fleet identity, journal."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Engine, text

from shardrouter.catalog import CHANNEL, CatalogStore, catalog_engine, found_fleet
from shardrouter.errors import (
    CatalogUnavailable,
    CommitInDoubt,
    SettingsError,
    ShardRouterError,
    StaleEpoch,
    UnknownShard,
)
from shardrouter.topology import Epoch, KeyColumn, KeyType, ShardId, Table, TableKind
from tests.support.cutting_relay import CuttingRelay
from tests.support.topologies import small_topology

RACE_ROUNDS = 100


def publish(store: CatalogStore, epoch: int, **changes: object) -> None:
    topology = replace(small_topology(epoch), **changes)  # type: ignore[arg-type]
    store.publish(topology, expected=Epoch(epoch - 1), actor="ann", reason=f"change {epoch}")


def test_empty_fleet_is_epoch_0_without_a_topology(store: CatalogStore) -> None:
    assert store.epoch() == 0
    assert store.find() is None
    assert store.history() == []
    with pytest.raises(UnknownShard, match="no shards yet"):
        store.load()


def test_what_is_published_is_read_back_equal(store: CatalogStore) -> None:
    tables = (
        Table("orders", TableKind.SHARDED, (KeyColumn("uid", KeyType.UUID),), schema="app"),
        Table("audit", TableKind.LOCAL, shard=ShardId("s1")),
    )
    publish(store, 1, tables=tables)
    publish(store, 2)
    assert store.load() == small_topology(2)
    assert store.load_at(Epoch(1)) == replace(small_topology(1), tables=tables)
    assert store.epoch() == 2


def test_history_and_journal_say_who_when_and_why(store: CatalogStore) -> None:
    publish(store, 1)
    publish(store, 2)
    history = store.history()
    assert [(p.epoch, p.actor, p.reason) for p in history] == [
        (2, "ann", "change 2"),
        (1, "ann", "change 1"),
    ]
    assert history[0].at > history[1].at
    store.note(actor="bob", reason="drill", kind="drill_done", seconds=3)
    newest, *_, first = store.events()
    assert (newest.actor, newest.kind, newest.detail) == ("bob", "drill_done", {"seconds": 3})
    assert first.kind == "fleet_founded"
    assert [e.detail for e in store.events() if e.kind == "topology_published"] == [
        {"epoch": 2},
        {"epoch": 1},
    ]
    assert len(store.history(limit=1)) == 1


def test_stale_publish_names_both_epochs_and_who_was_first(store: CatalogStore) -> None:
    publish(store, 1)
    publish(store, 2)
    with pytest.raises(StaleEpoch) as caught:
        publish(store, 2)
    said = str(caught.value)
    assert "at epoch 2, published by ann at 20" in said
    assert "(change 2)" in said
    assert "based on epoch 1" in said
    assert "shardrouter topology diff 1 2" in said
    assert caught.value.epoch == 2


def test_epoch_cannot_be_jumped(store: CatalogStore) -> None:
    with pytest.raises(ValueError, match="epoch 3 does not follow 0"):
        store.publish(small_topology(3), expected=Epoch(0), actor="a", reason="r")
    with pytest.raises(StaleEpoch):
        publish(store, 5)


def test_slot_count_is_for_life(store: CatalogStore) -> None:
    with pytest.raises(SettingsError, match="64 slots for life, not 128"):
        store.publish(small_topology(slots=128), expected=Epoch(0), actor="a", reason="r")
    with pytest.raises(SettingsError, match="64 slots for life, not 128"):
        store.found(128, actor="a")
    with pytest.raises(SettingsError, match="not a power of two"):
        store.found(100, actor="a")
    assert store.epoch() == 0
    assert store.found(64, actor="a").id == store.fleet().id


def test_unknown_epoch(store: CatalogStore) -> None:
    with pytest.raises(UnknownShard, match="no topology was published at epoch 9"):
        store.load_at(Epoch(9))


def test_two_publishers_race_and_one_wins(store: CatalogStore) -> None:
    """Both read, both publish at once, a hundred times; the loser always learns of it."""
    outcomes: Counter[str] = Counter()
    together = threading.Barrier(2)

    def run(name: str) -> None:
        for epoch in range(1, RACE_ROUNDS + 1):
            together.wait(10)
            try:
                new = small_topology(epoch)
                store.publish(new, expected=Epoch(epoch - 1), actor=name, reason=str(epoch))
                outcomes[name] += 1
            except StaleEpoch as error:
                assert f"at epoch {epoch}" in str(error)
                outcomes["stale"] += 1

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(run, "ann"), pool.submit(run, "bob")]:
            future.result(50)
    assert outcomes["ann"] + outcomes["bob"] == RACE_ROUNDS
    assert outcomes["stale"] == RACE_ROUNDS
    history = store.history(limit=RACE_ROUNDS + 1)
    assert [p.epoch for p in history] == list(range(RACE_ROUNDS, 0, -1))
    assert Counter(p.actor for p in history) == Counter(
        {name: outcomes[name] for name in ("ann", "bob") if outcomes[name]}
    )


def test_a_look_reads_a_topology_only_when_it_is_another(store: CatalogStore) -> None:
    assert store.look(Epoch(0)) == (0, None)
    publish(store, 1)
    publish(store, 2)
    assert store.look(Epoch(2)) == (2, None)
    assert store.look(Epoch(1)) == (2, small_topology(2))
    assert store.look(Epoch(9)) == (2, small_topology(2))


def test_what_comes_first_takes_place_with_the_epoch_or_not_at_all(
    store: CatalogStore,
) -> None:
    mark = text("INSERT INTO shardrouter.journal (actor, reason, kind) VALUES ('x', 'r', 'mark')")

    def fail(_: object) -> None:
        raise RuntimeError("stop")

    for first, expected, kind in (
        (fail, Epoch(0), RuntimeError),
        (lambda connection: connection.execute(mark), Epoch(5), StaleEpoch),
    ):
        with pytest.raises(kind):
            store.publish(
                small_topology(expected + 1),
                expected=expected,
                actor="a",
                reason="r",
                first=first,
            )
    assert store.epoch() == 0
    assert "mark" not in [event.kind for event in store.events()]
    store.publish(
        small_topology(1),
        expected=Epoch(0),
        actor="a",
        reason="r",
        first=lambda connection: connection.execute(mark),
    )
    assert [event.kind for event in store.events(limit=2)] == ["topology_published", "mark"]


def test_publish_notifies_in_its_transaction(store: CatalogStore, empty_catalog: str) -> None:
    with psycopg.connect(empty_catalog, autocommit=True) as listener:
        listener.execute(f"LISTEN {CHANNEL}")  # type: ignore[arg-type]
        with pytest.raises(StaleEpoch):
            publish(store, 2)
        publish(store, 1)
        heard = list(listener.notifies(timeout=10, stop_after=1))
    assert [(n.channel, n.payload) for n in heard] == [(CHANNEL, "1")]


def test_failed_publish_leaves_nothing(store: CatalogStore, empty_engine: Engine) -> None:
    with empty_engine.begin() as connection:
        connection.execute(text("ALTER TABLE shardrouter.journal ADD CHECK (actor <> 'mallory')"))
    with pytest.raises(Exception, match="violates check"):
        store.publish(small_topology(), expected=Epoch(0), actor="mallory", reason="r")
    assert store.epoch() == 0
    assert store.history() == []


def test_newer_json_format_is_refused_by_name(store: CatalogStore, empty_engine: Engine) -> None:
    publish(store, 1)
    with empty_engine.begin() as connection:
        connection.execute(
            text("UPDATE shardrouter.topology SET document = document || '{\"format\": 3}'")
        )
    with pytest.raises(SettingsError, match="not a topology of format 1 or 2"):
        store.load()


@pytest.mark.parametrize(
    ("delivered", "stays_down", "kind"),
    [(True, False, None), (False, False, CatalogUnavailable), (True, True, CommitInDoubt)],
    ids=["done", "not done", "unknown"],
)
def test_commit_that_breaks_is_looked_up(
    store: CatalogStore,
    empty_catalog: str,
    delivered: bool,
    stays_down: bool,
    kind: type[ShardRouterError] | None,
) -> None:
    """The connection is cut at COMMIT; the store asks on another one what became of it."""
    port = int(conninfo_to_dict(empty_catalog)["port"])  # type: ignore[arg-type]
    relay = CuttingRelay(port, b"COMMIT", delivered=delivered, stays_down=stays_down)
    engine = catalog_engine(make_conninfo(empty_catalog, port=relay.port))
    try:
        with nullcontext() if kind is None else pytest.raises(kind) as caught:
            publish(CatalogStore(engine), 1)
        if caught is not None:
            assert caught.value.hint
    finally:
        engine.dispose()
        relay.close()
    assert relay.has_cut
    assert store.epoch() == (1 if delivered else 0)


def test_found_fleet_is_idempotent_and_safe_from_many_threads(empty_catalog: str) -> None:
    engines = [catalog_engine(empty_catalog) for _ in range(4)]
    together = threading.Barrier(4)

    def found(number: int) -> object:
        together.wait(10)
        mine = small_topology(9, shards=number + 1)
        return found_fleet(engines[number], mine, f"process {number}")

    try:
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(found, range(4)))
        store = CatalogStore(engines[0])
        assert results == [store.load()] * 4
        assert store.load().epoch == 1
        assert len(store.history()) == 1
        assert sum(e.kind == "fleet_founded" for e in store.events()) == 1
    finally:
        for engine in engines:
            engine.dispose()
