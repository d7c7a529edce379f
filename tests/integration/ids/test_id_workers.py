"""Worker numbers leased by a real catalog."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from shardrouter.catalog import IdWorkers, catalog_engine
from shardrouter.errors import CatalogUnavailable, IdError
from tests.support.cluster import Cluster


@pytest.fixture
def engine(cluster: Cluster) -> Iterator[Engine]:
    made = catalog_engine(cluster.catalog_dsn)
    yield made
    made.dispose()


@pytest.fixture
def workers(engine: Engine) -> IdWorkers:
    return IdWorkers(engine, lease_seconds=30, horizon_seconds=600)


def test_a_window_starts_now_and_lasts_a_lease(workers: IdWorkers) -> None:
    lease = workers.acquire(uuid4(), "here", 0)
    assert lease.start_ms == lease.catalog_ms
    assert lease.end_ms == lease.start_ms + 30_000


def test_every_owner_gets_a_number_of_its_own(workers: IdWorkers) -> None:
    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(lambda _: workers.acquire(uuid4(), "here", 0), range(40)))
    assert len({lease.number for lease in leases}) == 40


def test_a_window_moves_on_up_to_the_horizon(workers: IdWorkers) -> None:
    lease = workers.acquire(uuid4(), "here", 0)
    far = workers.extend(lease, lease.end_ms + 10_000_000)
    assert far is not None
    assert far.end_ms == far.catalog_ms + 600_000
    same = workers.extend(far, 0)
    assert same is not None
    assert same.end_ms == far.end_ms, "a window never shrinks"


def test_a_number_is_free_only_after_its_window(workers: IdWorkers, engine: Engine) -> None:
    take_all(engine)
    with pytest.raises(IdError, match="all 512 worker numbers"):
        workers.acquire(uuid4(), "here", 0)
    let_expire(engine, 77)
    lease = workers.acquire(uuid4(), "here", 0)
    assert lease.number == 77
    with pytest.raises(IdError):
        workers.acquire(uuid4(), "here", 0)


def test_a_number_taken_over_is_not_extended(workers: IdWorkers, engine: Engine) -> None:
    take_all(engine)
    let_expire(engine, 5)
    old = workers.acquire(uuid4(), "frozen", 0)
    let_expire(engine, 5)
    new = workers.acquire(uuid4(), "other", 0)
    assert new.number == old.number == 5
    assert workers.extend(old, 0) is None
    workers.release(old, 0)
    assert workers.extend(new, 0) is not None, "the old owner cannot give away what is not its own"


def test_an_expired_window_that_nobody_took_goes_on(workers: IdWorkers, engine: Engine) -> None:
    old = workers.acquire(uuid4(), "slow", 0)
    let_expire(engine, old.number)
    again = workers.extend(old, 0)
    assert again is not None
    assert again.end_ms > again.catalog_ms


def test_a_released_number_is_blocked_for_what_was_used(workers: IdWorkers, engine: Engine) -> None:
    take_all(engine)
    let_expire(engine, 9)
    lease = workers.acquire(uuid4(), "here", 0)
    workers.release(lease, lease.start_ms + 20_000)
    with pytest.raises(IdError):
        workers.acquire(uuid4(), "here", 0)
    let_expire(engine, 9)
    lease = workers.acquire(uuid4(), "here", 0)
    workers.release(lease, lease.start_ms)
    assert workers.acquire(uuid4(), "here", 0).number == 9


def test_a_catalog_that_is_away_is_named() -> None:
    engine = catalog_engine("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(CatalogUnavailable):
        IdWorkers(engine, 30, 600).acquire(uuid4(), "here", 0)
    engine.dispose()


def take_all(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE shardrouter.id_workers SET window_end_ms = 1::bigint << 40, owner = :o"),
            {"o": uuid4()},
        )


def let_expire(engine: Engine, number: int) -> None:
    """As if the window had ended a while ago; a test cannot wait for real ones."""
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE shardrouter.id_workers SET window_end_ms = 1000 WHERE number = :n"),
            {"n": number},
        )
