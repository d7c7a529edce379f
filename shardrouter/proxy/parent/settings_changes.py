"""Judge what a reload changes: the differences, and which of them a running proxy can take.

Pure: settings in, settings and words out. Secrets are masked in the words.
"""

from dataclasses import dataclass
from typing import Any, Final

from shardrouter.config import Settings, shown_value

_AT_START: Final = frozenset(
    {
        "catalog.*",
        "monitor.*",
        "proxy.listen",
        "proxy.unix_socket_directory",
        "proxy.workers",
        "proxy.http_listen",
        "proxy.run_directory",
        "proxy.topology_file",
        "proxy.log_format",
    }
)
"""Keys whose values are used once, when a process starts. All others are read as they are used."""


@dataclass(frozen=True, slots=True)
class Change:
    """A key whose value differs. ``before`` and ``after`` are for people."""

    key: str
    before: str
    after: str

    @property
    def needs_restart(self) -> bool:
        return needs_restart(self.key)


def needs_restart(key: str) -> bool:
    """True for a key that a running proxy does not change."""
    section = key.partition(".")[0]
    return key in _AT_START or f"{section}.*" in _AT_START


def changes_between(before: Settings, after: Settings) -> list[Change]:
    """Return what differs, by key."""
    old, new = _by_key(before), _by_key(after)
    return [
        Change(key, *_shown(key, old[key], new[key])) for key in sorted(new) if old[key] != new[key]
    ]


def without_restart(running: Settings, read: Settings) -> Settings:
    """Return the settings read, but the running ones for the keys that need a restart."""
    values = running.model_dump()
    for section, keys in read.model_dump().items():
        for key, value in keys.items():
            if not needs_restart(f"{section}.{key}"):
                values[section][key] = value
    return Settings.model_validate(values)


def _by_key(settings: Settings) -> dict[str, Any]:
    return {
        f"{section}.{key}": value
        for section, keys in settings.model_dump(mode="json").items()
        for key, value in keys.items()
    }


def _shown(key: str, before: Any, after: Any) -> tuple[str, str]:
    old, new = str(shown_value(key, before)), str(shown_value(key, after))
    # Two connection strings that differ in the password look alike.
    return (old, f"{new} (another secret)") if old == new else (old, new)
