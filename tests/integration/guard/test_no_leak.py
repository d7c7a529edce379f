"""Once a new guard stands, nothing older gets past it: no snapshot, plan or open transaction."""

import threading
from collections.abc import Iterator

import psycopg
import pytest

from shardrouter.errors import LockTimeout, SlotNotOwned
from shardrouter.postgres import Patience
from tests.support.eventually import eventually
from tests.support.guarded import Guarded

HURRY = Patience(first_ms=20, longest_ms=20, pause_seconds=0.01, attempts=2)
LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


@pytest.fixture
def writer(guarded: Guarded) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with guarded.connect() as connection:
        yield connection


def assert_refused(connection: psycopg.Connection[tuple[object, ...]], statement: str) -> None:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(statement.encode())
    assert caught.value.sqlstate == SlotNotOwned.sqlstate


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("look", ["SELECT count(*) FROM orders", "SELECT count(*) FROM pg_class"])
def test_a_snapshot_from_before_does_not_help(
    guarded: Guarded, writer: psycopg.Connection[tuple[object, ...]], level: str, look: str
) -> None:
    moved = guarded.key_of("s0")
    writer.execute(f"INSERT INTO orders VALUES (1, {moved})")  # the function is compiled here
    writer.execute(f"BEGIN ISOLATION LEVEL {level}")
    writer.execute(look)
    guarded.install(guarded.without("s0", moved))
    for statement in (
        f"INSERT INTO orders VALUES (2, {moved})",
        "UPDATE orders SET note = 'late'",
        "DELETE FROM orders",
    ):
        writer.execute("SAVEPOINT before")
        assert_refused(writer, statement)
        writer.execute("ROLLBACK TO before")
    writer.execute("COMMIT")
    assert writer.execute("SELECT id, note FROM orders").fetchall() == [(1, "")]


def test_plans_from_before_do_not_help(
    guarded: Guarded, writer: psycopg.Connection[tuple[object, ...]]
) -> None:
    moved = guarded.key_of("s0")
    writer.execute("SET plan_cache_mode = force_generic_plan")
    writer.execute("PREPARE put (bigint, bigint) AS INSERT INTO orders VALUES ($1, $2)")
    writer.execute(
        "CREATE FUNCTION put (bigint, bigint) RETURNS void LANGUAGE plpgsql"
        " AS 'BEGIN INSERT INTO orders VALUES ($1, $2); END'"
    )
    for number in range(7):  # past the five custom plans a statement gets at first
        writer.execute(f"EXECUTE put ({number}, {moved})")
        writer.execute(f"SELECT put ({number + 100}, {moved})")
    guarded.install(guarded.without("s0", moved))
    assert_refused(writer, f"EXECUTE put (50, {moved})")
    assert_refused(writer, f"SELECT put (51, {moved})")


@pytest.mark.parametrize("finish", ["COMMIT", "PREPARE TRANSACTION 'guard-test'"])
def test_a_transaction_that_has_written_is_waited_for(
    guarded: Guarded, writer: psycopg.Connection[tuple[object, ...]], finish: str
) -> None:
    moved = guarded.key_of("s0")
    after = guarded.without("s0", moved)
    writer.execute("BEGIN")
    writer.execute(f"INSERT INTO orders VALUES (1, {moved})")
    with pytest.raises(LockTimeout, match=r"public\.orders stayed locked") as caught:
        guarded.install(after, patience=HURRY)
    assert f"pid {writer.info.backend_pid}" in (caught.value.hint or "")
    writer.execute(finish.encode())
    if finish != "COMMIT":
        with pytest.raises(LockTimeout) as caught:
            guarded.install(after, patience=HURRY)
        assert "the prepared transaction 'guard-test'" in (caught.value.hint or "")
        writer.execute("COMMIT PREPARED 'guard-test'")
    guarded.install(after, patience=HURRY)
    assert_refused(writer, f"INSERT INTO orders VALUES (2, {moved})")
    assert writer.execute("SELECT id FROM orders").fetchall() == [(1,)]


def test_readers_go_on_while_the_guard_waits(
    guarded: Guarded, writer: psycopg.Connection[tuple[object, ...]]
) -> None:
    writer.execute("BEGIN")
    writer.execute(f"INSERT INTO orders VALUES (1, {guarded.key_of('s0')})")
    installing = threading.Thread(target=guarded.install, args=[guarded.topology.next()])
    installing.start()
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'orders'::regclass"
    with guarded.connect() as reader:
        eventually(lambda: reader.execute(waiting).fetchone() == (1,))
        reader.execute("SET statement_timeout = '2s'")
        assert reader.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    writer.execute("COMMIT")
    installing.join(timeout=20)
    assert not installing.is_alive()


def test_no_row_is_committed_after_the_guard_under_load(guarded: Guarded) -> None:
    moved = guarded.key_of("s0")
    stop = threading.Event()
    refusals = []

    def write(first: int, level: str) -> None:
        with guarded.connect() as connection:
            for number in range(first, first + 1_000_000):
                if stop.is_set():
                    return
                try:
                    connection.execute(f"BEGIN ISOLATION LEVEL {level}")
                    connection.execute("SELECT 1 FROM orders LIMIT 1")
                    connection.execute("INSERT INTO orders VALUES (%s, %s)", [number, moved])
                    connection.execute("COMMIT")
                except psycopg.Error as error:
                    connection.execute("ROLLBACK")
                    if error.sqlstate == SlotNotOwned.sqlstate:
                        refusals.append(number)

    threads = [
        threading.Thread(target=write, args=[place * 1_000_000, level])
        for place, level in enumerate(LEVELS)
    ]
    count = "SELECT count(*) FROM orders"
    with guarded.connect() as watcher:
        for thread in threads:
            thread.start()
        try:
            eventually(lambda: watcher.execute(count).fetchone() > (50,))
            guarded.install(guarded.without("s0", moved))
            standing = watcher.execute(count).fetchone()
            eventually(lambda: len(refusals) > 50)
            assert watcher.execute(count).fetchone() == standing
        finally:
            stop.set()
            for thread in threads:
                thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in threads)
