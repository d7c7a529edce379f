"""What a router counts for which slot, as it reports it when it is closed."""

from sqlalchemy import select, text

from shardrouter import AsyncRouter, Router
from shardrouter.catalog import CatalogStore
from tests.support.cluster import Cluster
from tests.support.orders import Base, Country, User, keys_on

ONE = text("SELECT 1")


def counted(store: CatalogStore) -> dict[int, int]:
    return {slot: round(queries) for slot, queries in store.router_loads().total().items()}


def test_queries_by_key_are_counted_others_not(
    cluster: Cluster, cluster_store: CatalogStore
) -> None:
    with Router.from_config(cluster.settings_path) as router:
        router.create_all(Base)
        [a, b], [c] = keys_on(router, "s0", 2), keys_on(router, "s1", 1)
        with router.session(key=a) as session:
            for _ in range(3):
                session.execute(ONE)
        with router.session(key=a, read="replica") as session:
            session.execute(ONE)
        with router.connection(key=b) as connection:
            connection.execute("SELECT 1")
            connection.execute("SELECT 2")
        with router.transaction(keys=[a, c]) as tx:
            tx[c].execute(ONE)
            tx[a].execute(ONE)
        with router.session(shard="s0") as session:
            session.execute(ONE)
        router.gather(select(User)).all()
        router.map(lambda session: session.execute(ONE).all()).raise_if_failed()
        with router.transaction(reference=True) as tx:
            tx.reference.add(Country(code="de", name="Germany"))
        slots = [router.slot_of(key) for key in (a, b, c)]
    assert counted(cluster_store) == dict(zip(slots, (5, 1, 1), strict=True))


async def test_the_same_from_asyncio(cluster: Cluster, cluster_store: CatalogStore) -> None:
    async with AsyncRouter.from_config(cluster.settings_path) as router:
        [a] = keys_on(router, "s0", 1)
        async with router.session(key=a) as session:
            await session.execute(ONE)
            await session.execute(ONE)
        async with router.session(shard="s0") as session:
            await session.execute(ONE)
        slot = router.slot_of(a)
    assert counted(cluster_store) == {slot: 2}
