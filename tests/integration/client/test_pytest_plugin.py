"""The pytest plugin, as the suite of a service sees it: the example of docs/how-to/testing.md."""

import pytest

pytest_plugins = ["pytester"]

MODELS = """
from sqlalchemy import BigInteger
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from shardrouter import sharded

class Base(DeclarativeBase):
    pass

@sharded(by="user_id")
class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    user_id: Mapped[int] = mapped_column(BigInteger)
"""
CONFTEST = """
import pytest
from models import Base

@pytest.fixture(scope="session", autouse=True)
def tables(shard_cluster):
    shard_cluster.create_all(Base)
"""
TESTS = """
import pytest
from sqlalchemy import func, select
from models import Order

def place(router, user_id):
    with router.session(key=user_id) as session:
        session.add(Order(id=router.new_id(user_id), user_id=user_id))
        session.commit()

def test_an_order_touches_one_shard(router, assert_shards):
    with assert_shards(1):
        place(router, 7)

def test_two_orders_touch_two_shards(router, assert_shards):
    one = next(key for key in range(100) if router.shard_of(key).id == "s0")
    other = next(key for key in range(100) if router.shard_of(key).id == "s1")
    with pytest.raises(pytest.fail.Exception, match="touched 2 shards .s0, s1., not 1"):
        with assert_shards(1):
            place(router, one)
            place(router, other)

def test_tables_were_emptied(router):
    assert router.gather(select(func.count()).select_from(Order)).scalar() == 0

def test_new_order_shows_while_the_replica_lags(router, replica_lag):
    with replica_lag("s0"), replica_lag("s1"):
        place(router, 7)
        with router.session(key=7, read="replica") as session:
            assert session.scalar(select(func.count()).select_from(Order)) == 1
"""


def test_a_services_suite(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(models=MODELS, test_orders=TESTS)
    pytester.makeconftest(CONFTEST)
    result = pytester.runpytest_subprocess("-p", "no:randomly", "-p", "no:xdist", timeout=50)
    result.assert_outcomes(passed=4)
