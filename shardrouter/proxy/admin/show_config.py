"""``SHOW CONFIG``: every setting in force, secrets masked."""

from typing import Any, Final

from shardrouter.config import Settings, public_dsn
from shardrouter.proxy.admin.command import AdminContext, Answer, Command

_COLUMNS: Final = ("key", "value", "default")


async def _run(context: AdminContext, argument: str) -> Answer:
    defaults = public_values(Settings())
    return Answer(
        [(key, value, defaults[key]) for key, value in public_values(context.settings()).items()]
    )


def public_values(settings: Settings) -> dict[str, Any]:
    """Return each key path with its value; connection strings without their secrets."""
    return {
        f"{section}.{key}": public_dsn(value) if key.endswith("dsn") and value else value
        for section, values in settings.model_dump(mode="json").items()
        for key, value in values.items()
    }


COMMAND = Command("SHOW CONFIG", "every setting in force", _run, _COLUMNS)
