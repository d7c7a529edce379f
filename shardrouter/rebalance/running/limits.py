"""The settings of a move as they are now: those of the process, under what the row overrides.

``Move.limits`` holds settings that an operator changed for one move while it runs.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from shardrouter.config import RebalanceSettings
from shardrouter.errors import SettingsError

ADJUSTABLE: Final = frozenset(
    {
        "copy_jobs",
        "delete_rows",
        "disk_mb",
        "drain_seconds",
        "max_bytes_per_second",
        "max_lag_kb",
        "max_p99_ms",
        "max_replica_lag_mb",
        "max_retained_wal_mb",
        "min_free_disk_mb",
        "verify_rows",
    }
)
"""Names that may be overridden for one move."""


def limits_of(settings: RebalanceSettings, overrides: Mapping[str, Any]) -> RebalanceSettings:
    """Return the settings with the overrides of a move. Wrong ones are left out."""
    try:
        return with_limits(settings, overrides)
    except SettingsError:
        return settings  # the command that wrote them checked them; another version wrote these


def with_limits(settings: RebalanceSettings, overrides: Mapping[str, Any]) -> RebalanceSettings:
    """Return the settings with overrides. Raises SettingsError for a wrong name or value."""
    strangers = sorted(set(overrides) - ADJUSTABLE)
    if strangers:
        raise SettingsError(
            f"{', '.join(strangers)} cannot be changed for one move",
            hint=f"these can: {', '.join(sorted(ADJUSTABLE))}",
        )
    try:
        return RebalanceSettings.model_validate({**settings.model_dump(), **overrides})
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(f"{first['loc'][0]}: {first['msg']}") from error
