"""Reference tables: the same rows on every shard, or no change at all."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shardrouter import AsyncRouter, Router
from shardrouter.errors import ReferenceWrite, RoutingError, TransactionAborted
from tests.support.cluster import Cluster
from tests.support.transfers import Account, Country, Ledger, balance, create_tables

Rows = list[tuple[str, str, str]]


def countries(cluster: Cluster, node: str) -> Rows:
    with cluster.connect(node) as connection:
        return connection.execute("SELECT code, name, note FROM country ORDER BY code").fetchall()


@pytest.fixture
def rows(cluster: Cluster) -> Callable[[], Rows]:
    """The countries, after checking that both shards have the same."""

    def read() -> Rows:
        first, second = countries(cluster, "s0-p"), countries(cluster, "s1-p")
        assert first == second
        return first

    return read


def test_a_unit_of_work_reaches_every_shard(
    router: Router, rows: Callable[[], Rows], ledger: Ledger
) -> None:
    with router.transaction(reference=True) as tx:
        tx.reference.add_all([Country(code="SE", name="Sweden"), Country(code="NO", name="Norge")])
    assert rows() == [("NO", "Norge", "none"), ("SE", "Sweden", "none")]
    with router.transaction(reference=True) as tx:
        tx.reference.get_one(Country, "NO").name = "Norway"
        tx.reference.delete(tx.reference.get_one(Country, "SE"))
        tx.reference.merge(Country(code="FI", name="Finland", note="new"))
    assert rows() == [("FI", "Finland", "new"), ("NO", "Norway", "none")]
    assert ledger.journal() == [("commit", True, None)] * 2


def test_statements_reach_every_shard(router: Router, rows: Callable[[], Rows]) -> None:
    with router.transaction(reference=True) as tx:
        many = [{"code": f"X{n:02}", "name": "x"} for n in range(30)]
        tx.reference.execute(insert(Country), many)
        tx.reference.execute(text("INSERT INTO country (code, name) VALUES (:c, '%')"), {"c": "T"})
        tx.reference.execute(
            upsert(Country)
            .values(code="X00", name="again")
            .on_conflict_do_update(index_elements=["code"], set_={"name": "again"})
        )
        names = tx.reference.scalars(
            update(Country).where(Country.code < "X05").values(note="low").returning(Country.code)
        ).all()
        tx.reference.execute(delete(Country).where(Country.code >= "X10"))
    assert len(names) == 6  # T and X00 to X04
    assert len(rows()) == 11
    assert ("X00", "again", "low") in rows()


def test_one_failing_shard_means_none(
    router: Router, cluster: Cluster, ledger: Ledger, rows: Callable[[], Rows]
) -> None:
    with cluster.connect("s1-p") as connection:
        connection.execute("ALTER TABLE country ADD CHECK (code <> 'SE')")
    with pytest.raises(IntegrityError), router.transaction(reference=True) as tx:
        tx.reference.add(Country(code="SE", name="Sweden"))
    assert rows() == []
    assert ledger.prepared() == []


def test_a_failure_passed_over_means_none(
    router: Router, cluster: Cluster, rows: Callable[[], Rows]
) -> None:
    with cluster.connect("s1-p") as connection:
        connection.execute("ALTER TABLE country ADD CHECK (code <> 'SE')")
    with pytest.raises(TransactionAborted), router.transaction(reference=True) as tx:
        with pytest.raises(IntegrityError):
            tx.reference.execute(insert(Country).values(code="SE", name="Sweden"))
    assert rows() == []


def test_copies_that_differ_are_noticed(router: Router, cluster: Cluster) -> None:
    with cluster.connect("s1-p") as connection:
        connection.execute("INSERT INTO country VALUES ('SE', 'only here')")
    for passes_over in (False, True):
        with pytest.raises(ReferenceWrite, match="0 rows on s0 and 1 on s1"):
            with router.transaction(reference=True) as tx:
                change = update(Country).where(Country.code == "SE").values(name="Sweden")
                if not passes_over:
                    tx.reference.execute(change)
                with pytest.raises(ReferenceWrite):
                    tx.reference.execute(change)
    assert countries(cluster, "s1-p") == [("SE", "only here", "none")]


def _write(kind: str) -> Callable[[Session], Any]:
    return {
        "now()": lambda s: s.execute(insert(Country).values(code="SE", name=func.now())),
        "text": lambda s: s.execute(text("UPDATE country SET name = gen_random_uuid()::text")),
        "update": lambda s: s.execute(update(Country).values(name=func.random())),
        "attribute": lambda s: s.add(Country(code="SE", name=func.clock_timestamp())),
    }[kind]


@pytest.mark.parametrize("kind", ["now()", "text", "update", "attribute"])
def test_values_of_the_servers_own_are_refused(
    kind: str, router: Router, rows: Callable[[], Rows]
) -> None:
    with pytest.raises(ReferenceWrite, match="another value on every shard"):
        with router.transaction(reference=True) as tx:
            _write(kind)(tx.reference)
    assert rows() == []


def test_values_of_this_side_are_the_same_everywhere(
    router: Router, rows: Callable[[], Rows]
) -> None:
    with router.transaction(reference=True) as tx:
        tx.reference.add(Country(code="SE", name=str(datetime.now(UTC))))
    assert len(rows()) == 1


def test_only_reference_tables_and_no_savepoints(
    router: Router, accounts: tuple[int, ...], ledger: Ledger
) -> None:
    with (
        pytest.raises(ReferenceWrite, match="not marked"),
        router.transaction(reference=True) as tx,
    ):
        tx.reference.add(Account(id=1, balance=1))
        tx.reference.flush()
    with pytest.raises(ReferenceWrite, match="not a reference"):
        with router.transaction(reference=True) as tx:
            tx.reference.execute(update(Account).values(balance=0))
    with pytest.raises(ReferenceWrite, match="savepoint"):
        with router.transaction(reference=True) as tx, tx.reference.begin_nested():
            tx.reference.add(Country(code="SE", name="Sweden"))
    with pytest.raises(ReferenceWrite), router.session(key=accounts[0]) as session:
        session.add(Country(code="SE", name="Sweden"))
        session.flush()
    with pytest.raises(RoutingError, match="reference=True"):
        with router.transaction(keys=[accounts[0]]) as tx:
            tx.reference.add(Country(code="SE", name="Sweden"))
    assert ledger.total() == 400


def test_keys_and_reference_tables_together(
    router: Router, accounts: tuple[int, ...], rows: Callable[[], Rows], ledger: Ledger
) -> None:
    a, _, b, _ = accounts
    with router.transaction(keys=[a, b], reference=True) as tx:
        tx.reference.add(Country(code="SE", name="Sweden"))
        for key in (a, b):
            tx[key].execute(
                update(Account).where(Account.id == key).values(country="SE", balance=7)
            )
    assert rows() == [("SE", "Sweden", "none")]
    assert (balance(router, a), balance(router, b)) == (7, 7)
    assert ledger.total() == 214, "statements of one key ran on its shard only"


def test_reads_see_what_was_written(router: Router) -> None:
    with router.transaction(reference=True) as tx:
        tx.reference.add(Country(code="SE", name="Sweden"))
        assert tx.reference.scalars(select(Country.name)).all() == ["Sweden"]
    for shard in ("s0", "s1"):
        with router.session(shard=shard, read="replica") as session:
            assert session.scalars(select(Country.name)).all() == ["Sweden"]


async def test_the_async_twin(cluster: Cluster, rows: Callable[[], Rows]) -> None:
    create_tables(cluster)
    async with AsyncRouter.from_config(cluster.settings_path) as router:
        async with router.transaction(reference=True) as tx:
            tx.reference.add(Country(code="SE", name="Sweden"))
            await tx.reference.flush()
            await tx.reference.execute(update(Country).values(note="x"))
            await tx.reference.execute(
                insert(Country), [{"code": f"X{n}", "name": "x"} for n in range(3)]
            )
    assert [code for code, _, _ in rows()] == ["SE", "X0", "X1", "X2"]
