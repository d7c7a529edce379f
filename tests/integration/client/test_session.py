"""Sessions: rows land on the shard of their key, and nothing else gets through."""

import pytest
from sqlalchemy import insert, select, text, update

from shardrouter import Router
from shardrouter.errors import (
    ReadOnlySession,
    ReferenceWrite,
    RoutingError,
    ShardKeyInvalid,
    ShardKeyMissing,
    ShardSwapError,
    UnknownShard,
    WrongShardKey,
)
from tests.support.cluster import Cluster
from tests.support.orders import Audit, Country, Order, User, keys_on


def stored(cluster: Cluster, node: str, query: str) -> list[tuple[object, ...]]:
    with cluster.connect(node) as connection:
        return connection.execute(query.encode()).fetchall()


def test_rows_land_on_the_shard_of_their_key(router: Router, cluster: Cluster) -> None:
    keys = [*keys_on(router, "s0", 5), *keys_on(router, "s1", 5)]
    for key in keys:
        with router.session(key) as session:
            session.add(User(id=key, name=str(key), orders=[Order(id=1)]))
            session.commit()
    for shard, expected in (("s0", keys[:5]), ("s1", keys[5:])):
        assert stored(cluster, f"{shard}-p", "SELECT id FROM users ORDER BY 1") == [
            (key,) for key in sorted(expected)
        ]
        assert len(stored(cluster, f"{shard}-p", "SELECT 1 FROM orders")) == 5


def test_nothing_is_committed_without_commit(router: Router, cluster: Cluster) -> None:
    (key,) = keys_on(router, "s0", 1)
    with router.session(key) as session:
        session.add(User(id=key, name="gone"))
        session.flush()
    assert stored(cluster, "s0-p", "SELECT * FROM users") == []


@pytest.mark.parametrize("other_shard", ["s0", "s1"])
def test_row_of_another_slot_is_refused_before_any_sql(
    router: Router, cluster: Cluster, other_shard: str
) -> None:
    mine, *_ = keys_on(router, "s0", 1)
    other = keys_on(router, other_shard, 2)[1]
    touched: list[str] = []
    with router.watch_checkouts(lambda shard, node: touched.append(shard)):
        with router.session(mine) as session:
            session.add(User(id=mine, name="mine"))
            session.add(User(id=other, name="other"))
            with pytest.raises(WrongShardKey, match=f"id={other}.*shard s0"):
                session.commit()
    assert touched == [], "a connection was used before the refusal"
    assert stored(cluster, "s0-p", "SELECT * FROM users") == []


def test_key_that_comes_from_a_parent_object_is_checked_too(router: Router) -> None:
    mine, other = keys_on(router, "s0", 2)
    with router.session(mine) as session:
        session.add(Order(id=1, user=User(id=other, name="other")))
        with pytest.raises(WrongShardKey):
            session.flush()


def test_changing_a_rows_key_to_another_slot_is_refused(router: Router, cluster: Cluster) -> None:
    mine, other = keys_on(router, "s0", 2)
    with router.session(mine) as session:
        session.add(User(id=mine, name="mine"))
        session.commit()
        user = session.get(User, mine)
        assert user is not None
        user.id = other
        with pytest.raises(WrongShardKey):
            session.commit()
    assert stored(cluster, "s0-p", "SELECT id FROM users") == [(mine,)]


def test_row_of_another_slot_that_was_read_cannot_be_changed_or_deleted(router: Router) -> None:
    mine, other = keys_on(router, "s0", 2)
    with router.session(other) as session:
        session.add(User(id=other, name="other"))
        session.commit()
    for change in ("change", "delete"):
        with router.session(mine) as session:
            stranger = session.scalars(select(User)).one()
            if change == "delete":
                session.delete(stranger)
            else:
                stranger.name = "changed"
            with pytest.raises(WrongShardKey):
                session.flush()


def test_row_without_a_key_is_refused(router: Router) -> None:
    (mine,) = keys_on(router, "s0", 1)
    with router.session(mine) as session:
        session.add(Order(id=1, note="whose?"))
        with pytest.raises(ShardKeyMissing, match="user_id=None"):
            session.flush()


@pytest.mark.parametrize("form", ["values", "many values", "parameters", "core table"])
def test_bulk_inserts_are_checked(router: Router, cluster: Cluster, form: str) -> None:
    mine, other = keys_on(router, "s0", 2)
    rows = [{"id": mine, "name": "mine"}, {"id": other, "name": "other"}]
    with router.session(mine) as session:
        with pytest.raises(WrongShardKey):
            match form:
                case "values":
                    session.execute(insert(User).values(id=other, name="other"))
                case "many values":
                    session.execute(insert(User).values(rows))
                case "parameters":
                    session.execute(insert(User), rows)
                case _:
                    session.execute(insert(User.__table__), rows)  # type: ignore[arg-type]
        session.rollback()
        session.execute(insert(User), rows[:1])
        session.commit()
    assert stored(cluster, "s0-p", "SELECT id FROM users") == [(mine,)]


def test_legacy_bulk_methods_are_refused(router: Router) -> None:
    with router.session(1) as session:
        for call in (
            lambda: session.bulk_save_objects([User(id=2)]),
            lambda: session.bulk_insert_mappings(User, [{"id": 2}]),
            lambda: session.bulk_update_mappings(User, [{"id": 2}]),
        ):
            with pytest.raises(RoutingError, match="unchecked"):
                call()


def test_reference_and_foreign_local_tables_are_refused(router: Router) -> None:
    on_s0, on_s1 = keys_on(router, "s0", 1)[0], keys_on(router, "s1", 1)[0]
    with router.session(on_s0) as session:
        session.add(Country(code="de", name="Germany"))
        with pytest.raises(ReferenceWrite, match="transaction"):
            session.flush()
    for statement in (insert(Country).values(code="de", name="x"), update(Country).values(name="")):
        with router.session(on_s0) as session, pytest.raises(ReferenceWrite):
            session.execute(statement)
    with router.session(on_s1) as session:
        session.add(Audit(id=1))
        with pytest.raises(WrongShardKey, match="shard s0 only"):
            session.flush()


def test_local_table_is_written_by_naming_its_shard(router: Router, cluster: Cluster) -> None:
    with router.session(shard="s0") as session:
        session.add(Audit(id=1, what="done"))
        session.commit()
    assert stored(cluster, "s0-p", "SELECT id FROM audit") == [(1,)]


@pytest.mark.parametrize("read", ["replica", "primary"])
def test_read_session_refuses_writes(router: Router, cluster: Cluster, read: str) -> None:
    (key,) = keys_on(router, "s0", 1)
    with router.session(key, read=read) as session:
        session.add(User(id=key, name="x"))
        with pytest.raises(ReadOnlySession):
            session.flush()
    with router.session(key, read=read) as session, pytest.raises(ReadOnlySession):
        session.execute(update(User).values(name="x"))
    with router.session(key, read=read) as session:
        with pytest.raises(Exception, match="read-only transaction"):
            session.execute(text(f"INSERT INTO users VALUES ({key}, 'x')"))
    with router.session(key) as session:  # the same pooled connection writes again
        session.add(User(id=key, name="x"))
        session.commit()
    assert stored(cluster, "s0-p", "SELECT id FROM users") == [(key,)]


def test_pin_forbids_a_second_key(router: Router) -> None:
    mine, other = keys_on(router, "s0", 2)
    with router.pin():
        with router.session(mine) as session:
            session.execute(text("SELECT 1"))
        with router.pin(), router.session(mine):
            pass
        with pytest.raises(ShardSwapError, match=str(other)):
            router.session(other)
        with pytest.raises(ShardSwapError):
            router.session(shard="s0")
    with router.session(other):
        pass


def test_unit_of_work_commits_and_rolls_back(router: Router, cluster: Cluster) -> None:
    mine, other = keys_on(router, "s0", 2)

    @router.unit_of_work(key=lambda user, fail=False: user.id)
    def store(session: object, user: User, fail: bool = False) -> str:
        session.add(user)  # type: ignore[attr-defined]
        if fail:
            session.flush()  # type: ignore[attr-defined]
            raise RuntimeError("no")
        return user.name

    assert store(User(id=mine, name="kept")) == "kept"
    with pytest.raises(RuntimeError):
        store(User(id=other, name="lost"), fail=True)
    assert stored(cluster, "s0-p", "SELECT name FROM users") == [("kept",)]


def test_bad_places_are_refused(router: Router) -> None:
    with pytest.raises(ShardKeyMissing, match="0 of key, id and shard"):
        router.session()
    with pytest.raises(ShardKeyMissing, match="2 of key, id and shard"):
        router.session(1, shard="s0")
    with pytest.raises(ShardKeyMissing):
        router.session(None)
    with pytest.raises(ShardKeyInvalid):
        router.session(1.5)
    with pytest.raises(UnknownShard, match="s0, s1"):
        router.session(shard="s9")
    for how in ({"read": "slave"}, {"max_lag": 1}, {"read": "replica", "max_lag": "soon"}):
        with pytest.raises(RoutingError):
            router.session(1, **how)  # type: ignore[arg-type]


def test_session_gives_its_connection_back_between_transactions(router: Router) -> None:
    (key,) = keys_on(router, "s0", 1)
    with router.session(key) as session:
        session.execute(text("SELECT 1"))
        assert session.unit.node is not None
        session.commit()
        assert session.unit.node is None
        session.execute(text("SELECT 1"))
        session.rollback()
        assert session.unit.node is None
