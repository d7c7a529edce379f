"""``SHOW CONFIG``: every setting in force, secrets masked."""

from typing import Any, Final

from shardrouter.config import Settings, shown_value
from shardrouter.proxy.admin.command import AdminContext, Answer, Command
from shardrouter.proxy.parent.settings_changes import needs_restart

_COLUMNS: Final = ("key", "value", "default", "changes")


async def _run(context: AdminContext, argument: str) -> Answer:
    defaults = public_values(Settings())
    return Answer(
        [
            (key, value, defaults[key], "at restart" if needs_restart(key) else "at reload")
            for key, value in public_values(context.settings()).items()
        ]
    )


def public_values(settings: Settings) -> dict[str, Any]:
    """Return each key path with its value; connection strings without their secrets."""
    return {
        f"{section}.{key}": shown_value(f"{section}.{key}", value)
        for section, values in settings.model_dump(mode="json").items()
        for key, value in values.items()
    }


COMMAND = Command("SHOW CONFIG", "every setting in force", _run, _COLUMNS)
