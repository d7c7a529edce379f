"""Ids of real processes: side by side, killed, frozen beyond their window."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from shardrouter import AsyncRouter, Router
from shardrouter.catalog import catalog_engine
from shardrouter.topology.id_layout import IdLayout, slot_of_id
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.id_process import SLOTS

ROOT = Path(__file__).parents[3]
LAYOUT = IdLayout.for_slots(SLOTS)


class IdProcess:
    def __init__(self, dsn: str, lease_seconds: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.id_process", dsn, str(lease_seconds)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, count: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def make(self, count: int) -> list[int]:
        self.ask(count)
        answer = self.answer()
        assert answer[:1].isdigit(), answer
        return [int(value) for value in answer.split()]

    def end(self) -> None:
        """Let it give its number back."""
        self.process.communicate(timeout=10)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)


@pytest.fixture
def engine(cluster: Cluster) -> Iterator[Engine]:
    made = catalog_engine(cluster.catalog_dsn)
    yield made
    made.dispose()


@pytest.fixture
def start(cluster: Cluster) -> Iterator[Callable[[float], IdProcess]]:
    started: list[IdProcess] = []

    def start_one(lease_seconds: float) -> IdProcess:
        started.append(IdProcess(cluster.catalog_dsn, lease_seconds))
        return started[-1]

    yield start_one
    for one in started:
        one.process.kill()
        one.process.communicate()


def only_one_number(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE shardrouter.id_workers SET window_end_ms = 1::bigint << 40"
                 " WHERE number <> 3")
        )  # fmt: skip


def window_has_ended(engine: Engine) -> bool:
    with engine.begin() as connection:
        query = (
            "SELECT window_end_ms <= extract(epoch FROM clock_timestamp()) * 1000 - 1735689600000"
            " FROM shardrouter.id_workers WHERE number = 3"
        )
        return bool(connection.execute(text(query)).scalar_one())


def test_two_processes_never_make_the_same_id(start: Callable[[float], IdProcess]) -> None:
    first, second = start(30), start(30)
    for process in (first, second):
        process.ask(5000)  # both at once, and beyond what the clock allows: a burst
    made = [[int(value) for value in p.answer().split()] for p in (first, second)]
    assert all(len(mine) == 5000 and mine == sorted(mine) for mine in made)
    assert not set(made[0]) & set(made[1])
    assert [slot_of_id(value, SLOTS) for value in made[0][:3]] == [0, 1, 2]


def test_a_killed_process_blocks_its_number_until_its_window_ends(
    start: Callable[[float], IdProcess], engine: Engine
) -> None:
    only_one_number(engine)
    first, second = start(1), start(1)
    old = first.make(3)
    first.signal(signal.SIGKILL)
    second.ask(1)
    assert second.answer().startswith("IdError: all 512 worker numbers")
    eventually(lambda: window_has_ended(engine))
    new = second.make(3)
    assert LAYOUT.worker_of(new[0]) == LAYOUT.worker_of(old[0]) == 3
    assert new[0] > old[-1]


def test_a_process_frozen_beyond_its_window_makes_no_id_twice(
    start: Callable[[float], IdProcess], engine: Engine
) -> None:
    only_one_number(engine)
    frozen, other = start(1), start(1)
    before = frozen.make(3)
    frozen.signal(signal.SIGSTOP)
    eventually(lambda: window_has_ended(engine))
    between = other.make(3000)
    frozen.signal(signal.SIGCONT)
    frozen.ask(3)
    assert frozen.answer().startswith("IdError"), "the only number is the other's now"
    other.end()
    eventually(lambda: window_has_ended(engine))
    after = frozen.make(3)
    everything = before + between + after
    assert {LAYOUT.worker_of(value) for value in everything} == {3}
    assert everything == sorted(set(everything))


def test_a_routers_ids_find_their_shard(cluster: Cluster) -> None:
    with Router.from_config(cluster.settings_path) as router:
        for key in ("alice", 17, ("tenant", 5)):
            made = router.new_id(key)
            assert slot_of_id(made, SLOTS) == router.slot_of(key)
            with router.session(id=made) as session:
                assert session.unit.shard == router.shard_of(key)


async def test_an_async_routers_ids(cluster: Cluster) -> None:
    async with AsyncRouter.from_config(cluster.settings_path) as router:
        made = [await router.new_id(n) for n in range(100)]
        assert made == sorted(set(made))
        assert [slot_of_id(value, SLOTS) for value in made] == [
            router.slot_of(n) for n in range(100)
        ]


def test_a_closed_router_gives_its_number_back(cluster: Cluster, engine: Engine) -> None:
    only_one_number(engine)
    with Router.from_config(cluster.settings_path) as router:
        old = router.new_id(1)
    eventually(lambda: window_has_ended(engine), 2)
    with Router.from_config(cluster.settings_path) as router:
        assert router.new_id(1) > old
