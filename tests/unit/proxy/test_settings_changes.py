"""What a reload changes, what waits for a restart, and that no secret is told."""

import pytest

from shardrouter.config import Settings
from shardrouter.config.problems import known_keys
from shardrouter.proxy.parent.settings_changes import (
    Change,
    changes_between,
    needs_restart,
    without_restart,
)


def test_nothing_changed() -> None:
    assert changes_between(Settings(), Settings()) == []


def test_changes_are_named_by_key() -> None:
    after = Settings(proxy={"max_clients": 7, "slow_query_ms": 5}, proxy_pool={"size": 3})
    assert changes_between(Settings(), after) == [
        Change("proxy.max_clients", "20000", "7"),
        Change("proxy.slow_query_ms", "None", "5"),
        Change("proxy_pool.size", "20", "3"),
    ]


@pytest.mark.parametrize("section", ["catalog.dsn", "proxy_auth.function_dsn"])
def test_passwords_are_masked(section: str) -> None:
    name, key = section.split(".")
    one, two = (
        Settings(**{name: {key: f"postgresql://app:{secret}@db0/x"}}) for secret in ("aa", "bb")
    )
    [change] = changes_between(one, two)
    assert "aa" not in change.before + change.after
    assert "bb" not in change.before + change.after
    assert change.before != change.after


def test_keys_that_need_a_restart_stay_as_they_are() -> None:
    running = Settings(proxy={"workers": 2}, catalog={"dsn": "host=a"})
    read = Settings(
        proxy={"workers": 3, "max_clients": 5, "listen": "127.0.0.1:1"}, catalog={"dsn": "host=b"}
    )
    taken = without_restart(running, read)
    assert taken == Settings(proxy={"workers": 2, "max_clients": 5}, catalog={"dsn": "host=a"})
    waiting = {change.key for change in changes_between(running, read) if change.needs_restart}
    assert waiting == {"proxy.workers", "proxy.listen", "catalog.dsn"}
    assert {change.key for change in changes_between(taken, read)} == waiting


def test_every_key_that_waits_exists() -> None:
    waiting = {key for key in known_keys() if needs_restart(key)}
    assert {"catalog.dsn", "monitor.every_ms", "proxy.log_format"} <= waiting
    assert not any(key.startswith(("proxy_pool.", "proxy_auth.", "routing.")) for key in waiting)
