"""The mover's connection is cut between a request and its reply: it asks, and never guesses."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final, NamedTuple

import psycopg
import pytest

from shardrouter.local import LocalFleet
from tests.plugins.fix_rebalance import MakeBed, StartMover
from tests.support.eventually import eventually
from tests.support.moving_cut import ArmedRelay
from tests.support.rebalance_scene import Scene

pytestmark = pytest.mark.timeout(150)  # a busy machine, and a lease that runs out

NODES: Final = ("catalog", "s0-p", "s1-p")


class Cut(NamedTuple):
    """Where the mover is when its next request of a kind is cut."""

    phase: str
    node: str
    word: bytes
    after: bytes = b""


_PUBLISHED: Final = (b"COMMIT", b"pg_notify")
_GUARDED: Final = (b"COMMIT", b"CREATE OR REPLACE FUNCTION")

CUTS: Final = (
    Cut("planned.examined", "catalog", *_PUBLISHED),
    Cut("preparing.published", "s0-p", b"pg_create_logical_replication_slot"),
    Cut("preparing.slot_made", "s1-p", b"CREATE SUBSCRIPTION"),
    Cut("ready.gate", "catalog", *_PUBLISHED),
    Cut("pausing.drained", "s0-p", *_GUARDED),
    Cut("draining.before_commit", "catalog", *_PUBLISHED),
    Cut("committed.published", "s1-p", *_GUARDED),
    Cut("committed.admitted", "catalog", *_PUBLISHED),
    Cut("cleaning.drained", "s0-p", b"DROP SUBSCRIPTION"),  # of the reverse stream
    Cut("cleaning.streams_dropped", "s0-p", b"COMMIT", b"DELETE FROM"),
    Cut("cleaning.unlocked", "catalog", *_PUBLISHED),
)

CASES: Final = [(cut, delivered) for cut in CUTS for delivered in (True, False)]

Relays = dict[str, ArmedRelay]


@pytest.fixture
def relays(moving_fleet: LocalFleet) -> Iterator[Relays]:
    made = {node: ArmedRelay(moving_fleet.node(node).port) for node in NODES}
    yield made
    for relay in made.values():
        relay.close()


@pytest.fixture
def scene(
    moving_fleet: LocalFleet, make_bed: MakeBed, start_mover: StartMover, relays: Relays
) -> Scene:
    ports = {node: relays[node].port for node in NODES}
    return Scene(make_bed(moving_fleet, slots=256, ports=ports), start_mover)


def is_quick(cut: Cut, delivered: bool) -> bool:
    return cut.phase == "draining.before_commit" and delivered


@pytest.mark.parametrize(
    ("cut", "delivered"),
    [
        pytest.param(
            cut,
            delivered,
            id=f"{cut.phase} {cut.node} {'reply' if delivered else 'request'}",
            marks=() if is_quick(cut, delivered) else pytest.mark.slow,
        )
        for cut, delivered in CASES
    ],
)
def test_cut(
    scene: Scene,
    relays: Relays,
    cut: Cut,
    delivered: bool,
    record_property: Callable[[str, object], None],
) -> None:
    lost = "reply" if delivered else "request"
    with scene.noted(record_property, cut.phase, f"{lost} of {cut.node} lost"):
        with scene.clients():
            mover = scene.run_to(cut.phase)
            relays[cut.node].arm(cut.word, after=cut.after, delivered=delivered)
            mover.thaw()
            eventually(lambda: relays[cut.node].has_cut, 30)
            scene.finish()
        scene.check(may_fail=False)


def test_the_relay_cuts_what_it_is_told(moving_fleet: LocalFleet) -> None:
    server = moving_fleet.node("s0-p")
    with closing(ArmedRelay(server.port)) as relay:
        dsn = f"postgresql://postgres@127.0.0.1:{relay.port}/postgres?sslmode=disable"
        with psycopg.connect(dsn, autocommit=True) as other, psycopg.connect(dsn) as connection:
            connection.execute("SELECT 1")
            connection.commit()
            relay.arm(b"COMMIT", after=b"CREATE TABLE", delivered=True)
            other.execute("SELECT 'COMMIT'")
            connection.execute("CREATE TABLE cut_here ()")
            with pytest.raises(psycopg.OperationalError):
                connection.commit()
            assert relay.has_cut
            assert other.execute("SELECT to_regclass('cut_here')::text").fetchone() == ("cut_here",)
            other.execute("DROP TABLE cut_here")
