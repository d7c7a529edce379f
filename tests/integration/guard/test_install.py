"""Installing guards is atomic, repeatable and refuses to go back; checking them tells the truth."""

import threading

import pytest
from sqlalchemy import exc

from shardrouter.errors import SettingsError, StaleEpoch
from shardrouter.postgres import (
    Guard,
    GuardReport,
    GuardState,
    Patience,
    check_guards,
    guard_sql,
    has_foreign_rows,
    install_guards,
)
from shardrouter.topology import Epoch, KeyColumn, KeyType, ShardId, Table, TableKind, Topology
from tests.support.guarded import CREATE_ORDERS, ORDERS, Guarded

S0 = ShardId("s0")


def check(guarded: Guarded, topology: Topology | None = None) -> GuardReport:
    with guarded.engines["s0"].connect() as connection:
        (report,) = check_guards(connection, topology or guarded.topology, S0)
        return report


def test_an_older_epoch_never_replaces_a_newer_guard(guarded: Guarded) -> None:
    moved = guarded.key_of("s0")
    after = guarded.without("s0", moved)
    guarded.install(after)
    with pytest.raises(StaleEpoch, match=f"later epoch {after.epoch}"):
        guarded.install(guarded.topology)
    assert check(guarded, after).is_ok


def test_a_database_serves_one_shard(guarded: Guarded) -> None:
    belongs = pytest.raises(SettingsError, match="belongs to shard s0")
    with guarded.engines["s0"].connect() as connection, belongs:
        install_guards(connection, guarded.topology, ShardId("s1"))
    assert check(guarded).is_ok


def test_all_guards_are_written_or_none(guarded: Guarded) -> None:
    missing = Table("missing", TableKind.SHARDED, (KeyColumn("id", KeyType.INT8),))
    topology = guarded.without("s0", guarded.key_of("s0")).next(tables=(ORDERS, missing))
    with pytest.raises(exc.ProgrammingError):
        guarded.install(topology)
    report = check(guarded)
    assert (report.state, report.epoch) == (GuardState.OK, guarded.topology.epoch)


def test_installing_again_changes_nothing(guarded: Guarded) -> None:
    guarded.install(guarded.topology)
    guarded.install(guarded.topology.next())
    report = check(guarded)
    assert (report.state, report.epoch) == (GuardState.OK, guarded.topology.epoch + 1)


def test_a_later_epoch_with_the_same_slots_is_no_news(guarded: Guarded) -> None:
    assert check(guarded, guarded.topology.next()).is_ok


FUNCTION = f"shardrouter.{Guard(ORDERS, S0, Epoch(1), 4096, ()).function_name}"
EVIL = "CREATE FUNCTION let_in() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"


TRIGGER = "CREATE OR REPLACE TRIGGER zzz_shardrouter_guard BEFORE"
ROWS = "ON orders FOR EACH ROW EXECUTE FUNCTION"


@pytest.mark.parametrize(
    ("damage", "state"),
    [
        ("DROP TABLE orders", GuardState.NO_TABLE),
        ("DROP TRIGGER zzz_shardrouter_guard ON orders", GuardState.MISSING),
        ("ALTER TABLE orders DISABLE TRIGGER zzz_shardrouter_guard", GuardState.DISABLED),
        ("ALTER TABLE orders ENABLE ALWAYS TRIGGER zzz_shardrouter_guard", GuardState.DISABLED),
        ("DELETE FROM shardrouter.guard", GuardState.STALE),
        (f"{EVIL}; {TRIGGER} INSERT OR UPDATE OR DELETE {ROWS} let_in()", GuardState.STALE),
        (f"{TRIGGER} UPDATE OR DELETE {ROWS} {FUNCTION}()", GuardState.STALE),
        (f"{EVIL}; CREATE TRIGGER zzzz BEFORE UPDATE {ROWS} let_in()", GuardState.OVERTAKEN),
    ],
)
def test_damage_is_seen_and_mended(guarded: Guarded, damage: str, state: GuardState) -> None:
    with guarded.connect() as connection:
        connection.execute(damage.encode())
        assert check(guarded).state is state
        if state is GuardState.NO_TABLE:
            connection.execute(CREATE_ORDERS)
        if state is not GuardState.OVERTAKEN:
            guarded.install(guarded.topology)
            assert check(guarded).is_ok


def test_a_guard_of_other_slots_is_stale(guarded: Guarded) -> None:
    report = check(guarded, guarded.without("s0", guarded.key_of("s0")))
    assert report.state is GuardState.STALE
    assert "orders" in report.detail


def test_rows_from_before_the_guard_are_found(guarded: Guarded) -> None:
    moved = guarded.key_of("s0")
    with guarded.connect() as connection:
        connection.execute(f"INSERT INTO orders VALUES (1, {moved})")
    now, after = guarded.topology, guarded.without("s0", moved)
    with guarded.engines["s0"].connect() as connection:
        assert not has_foreign_rows(connection, Guard.of(ORDERS, now, S0))
        assert has_foreign_rows(connection, Guard.of(ORDERS, after, S0))


def test_the_printed_script_makes_the_same_guard(guarded: Guarded) -> None:
    topology = guarded.without("s0", guarded.key_of("s0"))
    with guarded.connect() as connection:
        connection.execute(guard_sql(ORDERS, topology, S0).encode())
        connection.execute("UPDATE shardrouter.guard SET epoch = %s", [topology.epoch])
    assert check(guarded, topology).is_ok


def test_a_busy_table_is_tried_again(guarded: Guarded) -> None:
    holder = guarded.connect()
    holder.execute("BEGIN")
    holder.execute("LOCK TABLE orders IN SHARE UPDATE EXCLUSIVE MODE")  # as a vacuum does
    pauses = []

    def give_way(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            holder.execute("COMMIT")

    patience = Patience(first_ms=20, longest_ms=40, pause_seconds=0.5, attempts=5)
    guarded.install(guarded.topology.next(), sleep=give_way, patience=patience)
    holder.close()
    assert pauses == [0.5, 0.5]


def test_two_installers_at_once_both_succeed(guarded: Guarded) -> None:
    failures: list[BaseException] = []

    def install() -> None:
        try:
            guarded.install(guarded.topology)
        except BaseException as error:
            failures.append(error)

    with guarded.connect() as connection:
        connection.execute("DROP SCHEMA shardrouter CASCADE")
    threads = [threading.Thread(target=install) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert failures == []
    assert check(guarded).is_ok


def test_writers_that_queue_behind_an_attempt_are_let_through(guarded: Guarded) -> None:
    mine = guarded.key_of("s0")
    holder = guarded.connect()
    holder.execute("BEGIN")
    holder.execute("LOCK TABLE orders IN SHARE UPDATE EXCLUSIVE MODE")
    patience = Patience(first_ms=50, longest_ms=50, pause_seconds=0.05, attempts=100)
    installing = threading.Thread(
        target=guarded.install, args=[guarded.topology.next()], kwargs={"patience": patience}
    )
    installing.start()
    with guarded.connect() as writer:
        writer.execute("SET statement_timeout = '2s'")
        for number in range(20):
            writer.execute(f"INSERT INTO orders VALUES ({number}, {mine})")
    holder.close()
    installing.join(timeout=20)
    assert not installing.is_alive()
    assert check(guarded).epoch == guarded.topology.epoch + 1
