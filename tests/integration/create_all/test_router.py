"""create_all through both doors, on declarative models."""

from sqlalchemy import BigInteger, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shardrouter import AsyncRouter, Router, reference, sharded
from tests.support.cluster import Cluster


class Base(DeclarativeBase):
    pass


@sharded(by="user_id")
class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    user_id: Mapped[int] = mapped_column(BigInteger)


@reference
class Country(Base):
    __tablename__ = "countries"
    code: Mapped[str] = mapped_column(primary_key=True)


def test_a_router_knows_its_tables_and_reads_them_from_replicas(cluster: Cluster) -> None:
    with Router.from_config(cluster.settings_path) as router:
        made = router.create_all(Base)
        assert router.topology == made
        assert [table.name for table in made.tables] == ["orders", "countries"]
        for key in range(8):  # the replicas may lag: the token waits for the tables
            with router.session(key=key, read="replica") as session:
                assert session.scalars(select(Order)).all() == []
        with router.session(key=7) as session:
            session.add(Order(id=router.new_id(7), user_id=7))
            session.commit()
        with router.session(key=7, read="replica") as session:
            assert session.scalars(select(Order.user_id)).all() == [7]


async def test_an_async_router_does_it_too(cluster: Cluster) -> None:
    async with AsyncRouter.from_config(cluster.settings_path) as router:
        made = await router.create_all(Base)
        assert router.topology == made
        async with router.session(key=7) as session:
            session.add(Order(id=await router.new_id(7), user_id=7))
            await session.commit()
        async with router.session(key=7, read="replica") as session:
            assert (await session.scalars(select(Order.user_id))).all() == [7]
