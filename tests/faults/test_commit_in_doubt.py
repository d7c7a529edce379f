"""A commit whose answer never came is told as unknown, not as failed."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from shardrouter import Router
from shardrouter.catalog import catalog_engine, found_fleet
from shardrouter.errors import CommitInDoubt
from shardrouter.local import LocalFleet
from tests.support.eventually import eventually


def test_server_killed_while_commit_is_under_way(
    private_fleet: Callable[..., LocalFleet], tmp_path: Path
) -> None:
    fleet = private_fleet(1, 0)
    engine = catalog_engine(fleet.catalog.dsn())
    found_fleet(engine, fleet.topology(), actor="tests")
    engine.dispose()
    settings = tmp_path / "shardrouter.toml"
    settings.write_text(f'[catalog]\ndsn = "{fleet.catalog.dsn()}"\n')
    server = fleet.node("s0-p")
    asked = threading.Event()
    outcome: list[BaseException] = []

    def write(router: Router) -> None:
        try:
            with router.connection(1) as connection:
                connection.execute("CREATE TABLE t ()")
                server.freeze()
                asked.set()
        except BaseException as error:
            outcome.append(error)

    with Router.from_config(settings) as router:
        writer = threading.Thread(target=write, args=[router])
        writer.start()
        assert asked.wait(10)
        with pytest.raises(AssertionError):  # the commit waits for the frozen server
            eventually(lambda: not writer.is_alive(), deadline_seconds=0.3)
        server.kill()
        writer.join(10)
        assert isinstance(outcome[0], CommitInDoubt)
        assert "may have been committed or not" in str(outcome[0])
