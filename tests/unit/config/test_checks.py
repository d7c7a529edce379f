"""Combinations of settings: the ones that surprise. Refusals are tested through load_settings."""

from typing import Any

import pytest

from shardrouter.config import Settings, warnings_of
from shardrouter.config.checks import refusals


def test_defaults_surprise_nobody() -> None:
    assert warnings_of(Settings()) == ()


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        ("catalog", {"lease_seconds": 5, "poll_seconds": 2}, "three times"),
        ("catalog", {"lease_seconds": 8}, "more than a third"),
        ("routing", {"max_lag_seconds": 0.25}, "hardly any replica"),
        ("transaction", {"presume_abort_after_seconds": 5}, "will be aborted"),
        ("rebalance", {"hold_seconds": 3, "drain_seconds": 3}, "put off"),
        ("rebalance", {"disk_mb": 1000}, "go together"),
        ("rebalance", {"min_free_disk_mb": 10}, "go together"),
        ("proxy", {"listen": "0.0.0.0:6432"}, "nobody can log in by password"),
        ("proxy_auth", {"function_dsn": "host=a"}, "without proxy_auth.function"),
        ("proxy_auth", {"rules": ("host all all 0.0.0.0/0 trust",)}, "lets anybody in"),
        ("proxy_auth", {"rules": ("host all all all trust",)}, "lets anybody in"),
        ("proxy_auth", {"rules": ("hostssl a b 10.0.0.1/32 trust",)}, "lets anybody in"),
        ("proxy_pool", {"size": 200}, "more than proxy_pool.node_size = 100"),
        ("proxy_pool", {"connect_timeout_seconds": 60}, "clients give up"),
        ("proxy_pool", {"lifetime_seconds": 60}, "grows that old"),
    ],
)
def test_warnings(section: str, values: dict[str, Any], said: str) -> None:
    assert any(said in warning for warning in warnings_of(Settings(**{section: values})))


def test_a_topology_file_beside_a_catalog() -> None:
    settings = Settings(catalog={"dsn": "host=db0"}, proxy={"topology_file": "fleet.toml"})
    assert any("does not see what changes" in warning for warning in warnings_of(settings))


def test_fewer_backends_than_workers() -> None:
    settings = Settings(proxy={"workers": 4}, proxy_pool={"size": 2})
    assert any("take turns" in warning for warning in warnings_of(settings))


@pytest.mark.parametrize(
    "rules", [("local all all trust",), ("host all all ::1/128 trust",), ("nonsense",), ("",)]
)
def test_trust_on_this_machine_surprises_nobody(rules: tuple[str, ...]) -> None:
    assert warnings_of(Settings(proxy_auth={"rules": rules})) == ()


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        ("proxy", {"listen": "6432"}, "proxy.listen = '6432' is not an address"),
        ("proxy", {"listen": "::1:6432"}, "is not an address"),
        ("proxy", {"listen": "localhost:70000"}, "is not an address"),
        ("proxy", {"http_listen": "localhost"}, "proxy.http_listen = 'localhost'"),
        ("proxy", {"listen": "[::1]:9000", "http_listen": "[::1]:9000"}, "take another port"),
        ("proxy", {"listen": ""}, "nobody can connect"),
        ("proxy", {"unix_socket_directory": "/" + "x" * 100}, "too long"),
        ("proxy_auth", {"key_file": "k"}, "proxy_auth.key_file is set without"),
        ("proxy_auth", {"client_ca_file": "k"}, "proxy_auth.client_ca_file is set without"),
        ("proxy_auth", {"tls": "require"}, "needs proxy_auth.certificate_file"),
        ("proxy_auth", {"tls": "off", "certificate_file": "c"}, "tls = off"),
        ("proxy_auth", {"rules": ("hostssl all all all cert",)}, "needs proxy_auth.client_ca_file"),
    ],
)
def test_refusals_of_the_proxy(section: str, values: dict[str, Any], said: str) -> None:
    assert any(said in refusal for refusal in refusals(Settings(**{section: values})))


@pytest.mark.parametrize(
    "proxy",
    [
        {"listen": "[::]:6432"},
        {"listen": "db.example:0", "http_listen": ""},
        {"listen": "", "unix_socket_directory": "/tmp"},
        {"listen": "127.0.0.1:0", "http_listen": "127.0.0.1:0"},
    ],
)
def test_addresses_that_work(proxy: dict[str, Any]) -> None:
    assert list(refusals(Settings(proxy=proxy))) == []
