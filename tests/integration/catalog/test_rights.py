"""The rights that docs/reference/configuration.md lists are enough, and no more than needed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import Engine

from shardrouter.catalog import (
    CatalogStore,
    IdWorkers,
    NewMove,
    Registration,
    TransactionJournal,
    catalog_engine,
    found_fleet,
    install,
)
from shardrouter.errors import SettingsError
from shardrouter.topology import Epoch, MoveState, ShardId, Slot, Wish
from shardrouter.topology.transaction import Decision
from tests.support.topologies import small_topology

PAGE = Path(__file__).parents[3] / "docs/reference/configuration.md"
ROLES = ("shardrouter_router", "shardrouter_operator")


@pytest.fixture
def engine_as(empty_catalog: str, empty_engine: Engine) -> Iterator[Callable[[str], Engine]]:
    """Engines on a catalog with a topology, logged in as one of the documented roles."""
    found_fleet(empty_engine, small_topology(), "tests")
    grants = PAGE.read_text().partition("```sql\n")[2].partition("```")[0]
    suffix = uuid4().hex[:8]  # roles belong to the server, which other tests share
    made: list[Engine] = []
    with psycopg.connect(empty_catalog, autocommit=True) as owner:
        for role in ROLES:
            owner.execute(f"CREATE ROLE {role}_{suffix} LOGIN".encode())
            grants = grants.replace(role, f"{role}_{suffix}")
        owner.execute(grants.encode())

        def make(role: str) -> Engine:
            made.append(catalog_engine(make_conninfo(empty_catalog, user=f"{role}_{suffix}")))
            return made[-1]

        yield make
        for engine in made:
            engine.dispose()
        for role in ROLES:
            owner.execute(f"DROP OWNED BY {role}_{suffix}; DROP ROLE {role}_{suffix}".encode())


@pytest.mark.parametrize("role", ROLES)
def test_both_roles_can_do_what_a_router_does(
    engine_as: Callable[[str], Engine], role: str
) -> None:
    engine = engine_as(role)
    store = CatalogStore(engine)
    store.check()
    assert store.load() == small_topology()
    me = Registration(uuid4(), store.fleet().id, "library", "x", "0.1")
    assert store.heartbeat(me, Epoch(1), 15.0) == 1
    assert [router.id for router in store.routers()] == [me.id]
    store.router_loads().report(me, {Slot(3): 1.0})
    store.router_loads().report(me, {Slot(3): 2.0})
    assert store.router_loads().total() == {3: pytest.approx(2.0, rel=0.1)}
    store.sign_off(me.id)
    assert store.history()
    assert store.events()
    assert install(engine)

    journal = TransactionJournal(engine)
    transaction = uuid4()
    journal.begin(transaction, {ShardId("s0"): "gid"}, "tests")
    assert journal.decide(transaction, Decision.COMMIT, "tests") is Decision.COMMIT
    journal.finish(transaction)
    journal.forget([transaction])

    workers = IdWorkers(engine, lease_seconds=30, horizon_seconds=600)
    lease = workers.acquire(uuid4(), "tests", 0)
    workers.release(lease, lease.start_ms)


def test_only_the_operator_publishes(engine_as: Callable[[str], Engine]) -> None:
    new = small_topology(2)
    with pytest.raises(SettingsError, match="refuses this user") as caught:
        CatalogStore(engine_as("shardrouter_router")).publish(
            new, expected=Epoch(1), actor="a", reason="r"
        )
    assert "docs/reference/configuration.md" in str(caught.value)
    operator = CatalogStore(engine_as("shardrouter_operator"))
    operator.publish(new, expected=Epoch(1), actor="a", reason="r")
    operator.note(actor="a", reason="r", kind="k")
    assert operator.load() == new


def test_only_the_operator_moves_slots(engine_as: Callable[[str], Engine]) -> None:
    new = NewMove((Slot(0),), ShardId("s0"), ShardId("s1"))
    router = CatalogStore(engine_as("shardrouter_router")).moves()
    moves = CatalogStore(engine_as("shardrouter_operator")).moves()
    with pytest.raises(SettingsError, match="refuses this user"):
        router.create(new, actor="a", reason="r")
    move = moves.claim(moves.create(new, actor="a", reason="r").number, "mover@1", 60.0)
    assert [m.number for m in router.list(unfinished=True)] == [move.number]
    with pytest.raises(SettingsError, match="refuses this user"):
        router.claim(move.number, "mover@1", 60.0)
    moves.record_artefact(move, ShardId("s0"), "publication", "p")
    for artefact in moves.artefacts(move.number):
        moves.forget_artefact(move, artefact)
    moves.wish(move.number, Wish.HOLD, actor="a", reason="r")
    moves.amend(move, attention="look")
    moves.release(moves.advance(moves.renew(move, 60.0), MoveState.PREPARING, reason="r"))
