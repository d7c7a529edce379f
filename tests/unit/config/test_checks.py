"""Combinations of settings: the ones that surprise. Refusals are tested through load_settings."""

from typing import Any

import pytest

from shardrouter.config import Settings, warnings_of


def test_defaults_surprise_nobody() -> None:
    assert warnings_of(Settings()) == ()


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        ("catalog", {"lease_seconds": 5, "poll_seconds": 2}, "three times"),
        ("catalog", {"lease_seconds": 8}, "more than a third"),
        ("routing", {"max_lag_seconds": 0.25}, "hardly any replica"),
        ("transaction", {"presume_abort_after_seconds": 5}, "will be aborted"),
    ],
)
def test_warnings(section: str, values: dict[str, Any], said: str) -> None:
    assert any(said in warning for warning in warnings_of(Settings(**{section: values})))
