"""gather and map through both routers: the same rows, the same refusals, every shard's outcome."""

import pytest
from sqlalchemy import func, select, text, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from shardrouter import AsyncRouter, Router
from shardrouter.errors import CrossShardUnsupported, ScatterFailed, ShardSwapError
from tests.support.cluster import Cluster
from tests.support.orders import Order, User, keys_on


@pytest.fixture
def filled(router: Router) -> list[int]:
    keys = [*keys_on(router, "s0", 6), *keys_on(router, "s1", 6)]
    for key in keys:
        with router.session(key) as session:
            session.add(User(id=key, name=f"n{key % 3}", orders=[Order(id=1), Order(id=2)]))
            session.commit()
    return sorted(keys)


def test_gather_orders_and_limits_over_shards(router: Router, filled: list[int]) -> None:
    query = select(User.id).order_by(User.id.desc()).limit(5)
    assert list(router.gather(query).scalars()) == filled[::-1][:5]
    users = router.gather(select(User).order_by(User.id)).scalars().all()
    assert [(user.id, user.name) for user in users] == [(k, f"n{k % 3}") for k in filled]


def test_gather_groups_joins_and_reads_replicas(
    router: Router, cluster: Cluster, filled: list[int]
) -> None:
    query = (
        select(User.name, func.count(), func.avg(Order.id))
        .join(Order, Order.user_id == User.id)
        .group_by(User.name)
        .order_by(User.name)
    )
    expected = [(f"n{r}", 2 * sum(k % 3 == r for k in filled)) for r in range(3)]
    expected = [(name, count) for name, count in expected if count]
    touched: set[str] = set()
    for read in ("primary", "replica"):
        with router.watch_checkouts(lambda shard, node: touched.add(node)):
            rows = router.gather(query, read=read).all()
        assert [(name, count) for name, count, _ in rows] == expected
        assert {str(average) for *_, average in rows} == {"1.5000000000000000"}
    assert touched == {"s0-p", "s1-p", "s0-r1", "s1-r1"}


def test_gather_refuses_by_name_and_respects_the_pin(router: Router, filled: list[int]) -> None:
    with pytest.raises(CrossShardUnsupported, match=r"(?i)union"):
        router.gather(union_all(select(User.id), select(User.id)))  # type: ignore[arg-type]
    with router.pin():
        with router.session(filled[0]):
            pass
        with pytest.raises(ShardSwapError):
            router.gather(select(User.id))


def test_failing_shard_is_named_and_no_partial_rows_come_back(
    router: Router, cluster: Cluster, filled: list[int]
) -> None:
    with cluster.connect("s1-p") as admin:
        admin.execute("ALTER TABLE users RENAME TO gone")
    with pytest.raises(ScatterFailed, match="s1: UndefinedTable"):
        router.gather(select(User.id))


def test_map_reports_each_shard(router: Router, cluster: Cluster, filled: list[int]) -> None:
    with cluster.connect("s1-p") as admin:
        admin.execute("ALTER TABLE orders RENAME TO gone")

    def count(session: Session) -> int:
        return session.scalar(select(func.count()).select_from(Order)) or 0

    report = router.map(count)
    assert report.values == {"s0": 12}
    assert [outcome.shard for outcome in report.failed] == ["s1"]
    with pytest.raises(ScatterFailed, match="1 of 2 shards failed"):
        report.raise_if_failed()


def test_map_commits_and_its_writes_join_the_token(router: Router, cluster: Cluster) -> None:
    before = router.token()
    router.map(lambda session: session.execute(text("CREATE TABLE made ()"))).raise_if_failed()
    assert router.token() != before
    seen = router.map(
        lambda session: session.execute(text("SELECT count(*) FROM made")).scalar(), read="replica"
    )
    assert seen.values == {"s0": 0, "s1": 0}


async def test_async_gather_and_map(cluster: Cluster, router: Router, filled: list[int]) -> None:
    async with AsyncRouter.from_config(cluster.settings_path) as arouter:
        rows = await arouter.gather(select(User.id).order_by(User.id).limit(3))
        assert list(rows.scalars()) == filled[:3]

        async def count(session: AsyncSession) -> int:
            return await session.scalar(select(func.count()).select_from(User)) or 0

        report = await arouter.map(count, read="replica")
        assert report.values == {"s0": 6, "s1": 6}
        with pytest.raises(CrossShardUnsupported):
            await arouter.gather(select(func.row_number().over()))
