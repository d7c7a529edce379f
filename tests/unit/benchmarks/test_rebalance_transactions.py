"""What a load noted, read again and looked at."""

import json
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from benchmarks.measure import WrongAnswer
from benchmarks.rebalance.by_hand import HandCopy
from benchmarks.rebalance.load import Client, Order
from benchmarks.rebalance.transactions import Notes, Transaction, longest_during, p99_during
from tests.support.eventually import eventually

NOTES = Notes(
    [
        Transaction(10.0, 0.5, True),
        Transaction(10.2, 0.1, True),
        Transaction(11.0, 9.0, False),
        Transaction(12.0, 0.2, True),
    ],
    added=7,
)


@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [(10.4, 10.6, 0.5), (10.2, 10.3, 0.5), (10.51, 11.9, 0.0), (12.1, 13.0, 0.2), (0.0, 9.0, 0.0)],
)
def test_longest_is_that_of_moving_accounts_in_the_stretch(start, end, seconds):
    assert longest_during(NOTES, start, end) == seconds


def test_p99_is_of_what_ended_in_one_of_the_stretches():
    assert p99_during(NOTES, [(10.0, 10.4), (12.0, 13.0)]) == 0.2
    with pytest.raises(ValueError, match="no transaction ended there"):
        p99_during(NOTES, [(13.0, 14.0)])


def test_notes_keep_their_values_in_json():
    assert Notes.from_json(json.loads(json.dumps(NOTES.to_json()))) == NOTES


def test_notes_of_several_are_added_up():
    joined = Notes()
    joined.join([NOTES, Notes(failed=3, failures=["x"], added=-2)])
    assert (len(joined.transactions), joined.failed, joined.failures) == (4, 3, ["x"])
    assert joined.added == 5


def test_order_keeps_its_values_in_text():
    order = Order("settings", "notes", 10, (3, 4), proxy_dsn="dsn", proxy_clients=1, per_second=5.0)
    assert Order.of(order.to_text()) == order


class FakeDoor:
    """Fails now and then."""

    def __init__(self, fails_every: int) -> None:
        self.done: list[tuple[int, int, int]] = []
        self._fails_every = fails_every

    def transact(self, aid: int, id: int, delta: int) -> None:
        self.done.append((aid, id, delta))
        if len(self.done) % self._fails_every == 0:
            raise psycopg.OperationalError("lost")

    def add(self, aid: int, delta: int) -> None:
        self.transact(aid, 0, delta)

    def close(self) -> None:
        pass


@pytest.fixture
def over() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_client_notes_what_was_acknowledged_and_what_failed(over):
    door = FakeDoor(fails_every=5)
    client = Client(3, door, ([1, 2], [9]), Order("", "", 10, (1,), moving_share=0.5))
    thread = threading.Thread(target=client.run, args=(over,))
    thread.start()
    eventually(lambda: len(door.done) >= 50)
    over.set()
    thread.join()
    done, failed = len(client.notes().transactions), client.notes().failed
    assert done + failed == len(door.done)
    assert failed == len(door.done) // 5
    kept = [one for number, one in enumerate(door.done, 1) if number % 5]
    assert client.notes().added == sum(delta for _, _, delta in kept)
    assert [one.is_moving for one in client.notes().transactions] == [
        aid == 9 for aid, _, _ in kept
    ]
    assert len({id for _, id, _ in door.done}) == len(door.done)


def test_paced_client_counts_the_wait_of_those_who_were_due(over):
    door = FakeDoor(fails_every=10**9)
    client = Client(0, door, ([1], []), Order("", "", 1, (), library_clients=1, per_second=1000.0))
    thread = threading.Thread(target=client.run, args=(over,))
    thread.start()
    eventually(lambda: len(door.done) >= 20)
    over.set()
    thread.join()
    began = [one.began for one in client.notes().transactions]
    steps = [later - sooner for sooner, later in pairwise(began)]
    assert steps == pytest.approx([0.001] * len(steps))


def test_a_copy_by_hand_names_what_failed(tmp_path: Path):
    program = tmp_path / "psql"
    program.write_text("#!/bin/sh\necho 'no such table' >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(WrongAnswer, match="no such table"):
        HandCopy(program, "t", "true", "dsn", "dsn").run()
