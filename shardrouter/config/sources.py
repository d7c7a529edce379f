"""Read the settings: defaults < file < environment < overrides."""

import logging
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource
from pydantic_settings import SettingsError as PydanticSettingsError

from shardrouter.config.checks import refusals, warnings_of
from shardrouter.config.dsn import check_dsn
from shardrouter.config.problems import describe_problems, unknown_variables, variable_of
from shardrouter.config.settings import Settings
from shardrouter.errors import SettingsError

logger = logging.getLogger(__name__)

DEFAULT_PATH: Final = Path("shardrouter.toml")
PATH_VARIABLE: Final = "SHARDROUTER_CONFIG"
FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "catalog": ("dsn_file",),
    "proxy": ("topology_file", "run_directory", "unix_socket_directory"),
    "proxy_auth": ("users_file", "certificate_file", "key_file", "client_ca_file"),
}
"""Keys that name files; in a settings file they are relative to it."""


def load_settings(
    path: Path | str | None = None,
    *,
    or_topology_file: bool = False,
    **overrides: Mapping[str, Any],
) -> Settings:
    """Return the settings of this process.

    ``path`` is the TOML file; without it ``SHARDROUTER_CONFIG`` or ``./shardrouter.toml``, which
    need not exist when the environment or ``overrides`` name the catalog. ``overrides`` are
    sections: ``pool={"size": 5}``. ``or_topology_file`` is for processes that need no catalog
    where ``proxy.topology_file`` is set. Raises SettingsError that names each wrong key and the
    fix; logs a warning for each combination that will surprise.
    """
    file = settings_path(path)
    layers = [(_read_file(file, must_exist=path is not None), file.parent)]
    layers += [(_read_environment(), Path()), (overrides, Path())]
    merged: dict[str, Any] = {}
    for layer, folder in layers:
        _put_over(merged, layer, folder)
    _read_dsn_file(merged)
    settings = _validated(merged, file)
    if not settings.catalog.dsn and not (or_topology_file and settings.proxy.topology_file):
        raise no_catalog(file)
    for warning in warnings_of(settings):
        logger.warning("settings_surprise file=%s %s", file, warning)
    return settings


def settings_path(path: Path | str | None = None) -> Path:
    """Return the path of the settings file that ``load_settings`` reads."""
    return Path(path or os.environ.get(PATH_VARIABLE) or DEFAULT_PATH)


def sources_of(path: Path | str | None = None) -> dict[str, str]:
    """Return where each key that is not a default comes from: ``file`` or ``environment``."""
    file = settings_path(path)
    found: dict[str, str] = {}
    for name, layer in (
        ("file", _read_file(file, must_exist=path is not None)),
        ("environment", _read_environment()),
    ):
        for section, values in layer.items():
            found |= {f"{section}.{key}": name for key in values}
    return found


def no_catalog(file: Path) -> SettingsError:
    """Return the error of a process that was not told where its catalog is."""
    found = f"{file} names no catalog" if file.exists() else f"there is no settings file {file}"
    return SettingsError(
        f"{found}, and SHARDROUTER__CATALOG__DSN is not set",
        hint="start a local fleet with `shardrouter up`, or write the file with"
        " `shardrouter init --catalog postgresql://user@host/database`",
    )


def _read_file(file: Path, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if must_exist:
            raise no_catalog(file) from None
        return {}
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f"{file} is not TOML: {error}", hint="mend the line it names; text needs quotes"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{file} cannot be read: {error}", hint="give this user the right to read it"
        ) from error


def _read_environment() -> dict[str, Any]:
    strangers = unknown_variables(os.environ)
    if strangers:
        raise SettingsError("; ".join(strangers), hint="unset it, or mend its name")
    try:
        return EnvSettingsSource(Settings)()
    except PydanticSettingsError as error:
        raise SettingsError(
            f"environment: {error}",
            hint=f"set single keys, as {variable_of('pool.size')}=5",
        ) from error


def _put_over(below: dict[str, Any], above: Mapping[str, Any], folder: Path) -> None:
    """Put the keys of one source over those of the sources below it."""
    for section, values in above.items():
        if not isinstance(values, Mapping) or not isinstance(below.get(section, {}), Mapping):
            below[section] = values
            continue
        values = dict(values)
        for key in FILES.get(section, ()):
            if isinstance(values.get(key), str | Path):
                values[key] = folder / values[key]
        merged = {**below.get(section, {}), **values}
        if section == "catalog" and len(values.keys() & {"dsn", "dsn_file"}) == 1:
            # They say the same thing: the one of the higher source counts.
            merged.pop("dsn" if "dsn_file" in values else "dsn_file", None)
        below[section] = merged


def _read_dsn_file(merged: dict[str, Any]) -> None:
    catalog = merged.get("catalog")
    if not isinstance(catalog, dict) or not catalog.get("dsn_file"):
        return
    if catalog.get("dsn"):
        raise SettingsError(
            "catalog.dsn and catalog.dsn_file are both given", hint="keep one of them"
        )
    file = Path(str(catalog["dsn_file"]))
    try:
        catalog["dsn"] = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"catalog.dsn_file cannot be read: {error}",
            hint="write the connection string into it, readable by this user only",
        ) from error


def _validated(merged: dict[str, Any], file: Path) -> Settings:
    where = f"settings of {file}" if file.exists() else "settings"
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        raise SettingsError(
            f"{where}: {'; '.join(describe_problems(error, os.environ))}",
            hint="mend the value; `shardrouter config schema` describes every key",
        ) from error
    wrong = list(refusals(settings))
    if wrong:
        raise SettingsError(f"{where}: {'; '.join(wrong)}", hint="change one of the values")
    for where, dsn in (
        ("catalog.dsn", settings.catalog.dsn),
        ("proxy_auth.function_dsn", settings.proxy_auth.function_dsn),
    ):
        if dsn:
            check_dsn(dsn, where)
    return settings
