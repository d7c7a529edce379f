"""A service with migrations, and the fleet they run on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shardrouter.catalog import CatalogStore, catalog_engine
from shardrouter.control import Migration, MigrationAction, ShardReport
from shardrouter.control.migrate import migrate
from shardrouter.topology import KeyColumn, KeyType, Table, TableKind
from tests.support.alembic_service import AlembicService
from tests.support.cluster import Cluster

ORDERS = Table("orders", TableKind.SHARDED, (KeyColumn("user_id", KeyType.INT8),))


@pytest.fixture
def store(cluster: Cluster) -> Iterator[CatalogStore]:
    """The catalog, in which the table orders is registered."""
    engine = catalog_engine(cluster.catalog_dsn)
    opened = CatalogStore(engine)
    now = opened.load()
    after = now.next(tables=(ORDERS,))
    opened.publish(after, expected=now.epoch, actor="tests", reason="orders")
    yield opened
    engine.dispose()


@pytest.fixture
def service(tmp_path: Path) -> AlembicService:
    """A service whose first revision makes the table orders."""
    made = AlembicService(tmp_path / "service")
    made.add(
        "r1",
        "CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint NOT NULL)",
        "DROP TABLE orders",
    )
    return made


@pytest.fixture
def run(store: CatalogStore, service: AlembicService) -> Callable[..., dict[str, ShardReport]]:
    """Run an action over the shards; return the reports by shard."""

    def run_it(action: MigrationAction = MigrationAction.UPGRADE, **options: Any) -> Any:
        asked = Migration(ini=service.ini, action=action, **options)
        return {report.shard: report for report in migrate(store.load, asked)}

    return run_it
