"""The workload runs clean without moves; and whatever is planted in the shards is found."""

import random
from collections.abc import Callable

import pytest
from sqlalchemy import text

from tests.plugins.fix_proxy import MakeProxy
from tests.support.ledger_doors import LibraryDoor, ProxyDoor
from tests.support.ledger_work import Workload
from tests.support.moving_bed import MovingBed
from tests.support.moving_gather import GatherWatch
from tests.support.moving_watch import EpochWatch, ForeignRowsWatch, Trespasser, watched

REPLICA_ROLE = "SET session_replication_role = replica"


@pytest.fixture
def filled(bed: MovingBed) -> MovingBed:
    bed.open_accounts([*bed.slots_of("s0", 3), *bed.slots_of("s1", 3)])
    bed.fill("s0", 20)
    bed.fill("s1", 20)
    return bed


def account_on(bed: MovingBed, shard: str) -> int:
    owners = bed.topology.owners
    return next(group[0] for slot, group in bed.groups.items() if owners[slot] == shard)


@pytest.mark.slow
def test_clients_of_both_doors_without_a_move(filled: MovingBed, make_proxy: MakeProxy) -> None:
    proxy = make_proxy(on=filled.cluster)
    with filled.router() as router, watched(filled) as trespasser:
        doors: list[Callable[[], LibraryDoor | ProxyDoor]] = [
            lambda: LibraryDoor(router),
            lambda: ProxyDoor(proxy.connect),
        ] * 2
        with Workload(filled.ledger, filled.groups, doors, seed=4).running() as work:
            work.wait_for_more(600)
    assert filled.ledger.failures == []
    assert trespasser.refused > 0
    filled.wait_clean()


PLANTED = {
    "lost": "DELETE FROM ledger_entry WHERE account = {mine} AND number = {number}",
    "miscounted": "UPDATE ledger_account SET counter = counter + 1 WHERE id = {mine}",
    "stray": "INSERT INTO ledger_account (id, balance) VALUES ({other}, 1000)",
    "from nowhere": "INSERT INTO ledger_entry (account, number, amount) VALUES ({mine}, 99999, 0)",
    "left on s0: publication planted": "CREATE PUBLICATION planted FOR TABLE ledger_entry",
    "left on s0: replication slot planted":
        "SELECT pg_create_logical_replication_slot('planted', 'pgoutput')",
    "left on s0: subscription planted":
        "CREATE SUBSCRIPTION planted CONNECTION 'dbname=none' PUBLICATION none"
        " WITH (connect = false, enabled = false, create_slot = false, slot_name = NONE)",
    "left on s0: replication origin planted": "SELECT pg_replication_origin_create('planted')",
    "left on s0: trigger planted on ledger_entry":
        "CREATE TRIGGER planted BEFORE TRUNCATE ON ledger_entry"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "left on s0: prepared transaction planted":
        "BEGIN; CREATE TABLE planted (); PREPARE TRANSACTION 'planted'",
    "guard on s0": "ALTER TABLE ledger_entry DISABLE TRIGGER zzz_shardrouter_guard",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_is_found(filled: MovingBed, what: str) -> None:
    assert filled.problems() == []
    mine, other = account_on(filled, "s0"), account_on(filled, "s1")
    number = next(w.number for w in filled.ledger.writes if mine in w.amounts)
    with filled.primary("s0") as connection:
        connection.execute(REPLICA_ROLE)
        for statement in PLANTED[what].split("; "):
            given = statement.format(mine=mine, other=other, number=number)
            connection.execute(given.encode())
        found = filled.problems()
        if "origin" in what:  # of the whole server: it would stay
            connection.execute("SELECT pg_replication_origin_drop('planted')")
    # A subscription has an origin of its own.
    [told] = [line for line in found if "origin pg_" not in line]
    assert told.startswith(what)


@pytest.mark.slow
def test_an_event_trigger_is_found(filled: MovingBed) -> None:
    with filled.primary("s0") as connection:
        connection.execute(
            "CREATE FUNCTION planted() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'"
        )
        connection.execute(
            "CREATE EVENT TRIGGER planted ON ddl_command_start EXECUTE FUNCTION planted()"
        )
        assert filled.problems() == ["left on s0: event trigger planted"]


@pytest.mark.slow
def test_an_unfinished_move_is_found(filled: MovingBed) -> None:
    number = filled.create_move(filled.slots_of("s0", 2))
    assert filled.problems() == [f"in the catalog: move {number} is planned"]


def test_a_guard_that_lets_in_strangers_is_found(filled: MovingBed) -> None:
    trespasser = Trespasser(filled, filled.shards, random.Random(1))
    for _ in range(10):
        assert trespasser() == []
    assert trespasser.refused == 10
    for shard in filled.shards:
        with filled.primary(shard) as connection:
            connection.execute("ALTER TABLE ledger_entry DROP CONSTRAINT ledger_entry_account_fkey")
            connection.execute("ALTER TABLE ledger_entry DISABLE TRIGGER zzz_shardrouter_guard")
    [found] = trespasser()
    assert "accepted a row of account" in found
    for held in trespasser.connections.values():
        held.close()


@pytest.mark.slow
def test_foreign_rows_are_found_while_nothing_moves(filled: MovingBed) -> None:
    watch = ForeignRowsWatch(filled, filled.shards)
    assert watch() == []
    with filled.primary("s1") as connection:
        connection.execute(REPLICA_ROLE)
        connection.execute(
            "INSERT INTO ledger_account (id, balance) VALUES (%s, 0)", [account_on(filled, "s0")]
        )
    [found] = watch()
    assert found.startswith("s1.ledger_account holds rows of slot")
    for held in watch.connections.values():
        held.close()


def test_a_gather_that_misses_or_doubles_rows_is_found(filled: MovingBed) -> None:
    with filled.router() as router:
        watch = GatherWatch(router, filled.ledger)
        assert watch() == watch() == []
        with filled.primary("s1") as connection:
            connection.execute(REPLICA_ROLE)
            given = [account_on(filled, "s0")]
            connection.execute("INSERT INTO ledger_account (id, balance) VALUES (%s, 7)", given)
        [found] = watch()
        assert found.startswith("gathered (19, 18007) by read=primary")
    assert filled.ledger.failures == []


def test_an_epoch_that_goes_back_is_found(filled: MovingBed) -> None:
    watch = EpochWatch(filled)
    assert watch() == []
    with filled.engine.begin() as connection:
        connection.execute(text("UPDATE shardrouter.fleet SET epoch = epoch - 1"))
    [found] = watch()
    assert found.startswith("the epoch went from")
    watch.connection.close()
    with filled.engine.begin() as connection:
        connection.execute(text("UPDATE shardrouter.fleet SET epoch = epoch + 1"))
