"""Settings that an operator changes for one move while it runs."""

import pytest

from shardrouter.config import RebalanceSettings
from shardrouter.errors import SettingsError
from shardrouter.rebalance.running.limits import ADJUSTABLE, limits_of, with_limits

SETTINGS = RebalanceSettings()


def test_overrides_lie_over_the_settings():
    changed = limits_of(SETTINGS, {"max_bytes_per_second": 1_000_000})
    assert changed.max_bytes_per_second == 1_000_000
    assert changed.copy_jobs == SETTINGS.copy_jobs
    assert limits_of(SETTINGS, {}) == SETTINGS


def test_names_and_values_are_checked():
    with pytest.raises(SettingsError, match="copy_mode cannot be changed"):
        with_limits(SETTINGS, {"copy_mode": "fast"})
    with pytest.raises(SettingsError, match="drain_seconds"):
        with_limits(SETTINGS, {"drain_seconds": -1})


def test_what_another_version_wrote_is_left_out():
    assert limits_of(SETTINGS, {"warp": 9}) == SETTINGS


def test_adjustable_ones_exist():
    assert set(RebalanceSettings.model_fields) >= ADJUSTABLE
