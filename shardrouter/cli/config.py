"""``shardrouter config check | show | schema``."""

from typing import Any, Final

import typer

from shardrouter.cli.catalog import ConfigOption
from shardrouter.cli.output import Output, OutputOption, say, show_json, show_rows, stderr
from shardrouter.config import (
    Settings,
    load_settings,
    settings_path,
    shown_value,
    sources_of,
    warnings_of,
)

app = typer.Typer(help="Check and show the settings.", no_args_is_help=True)

_COLUMNS: Final = ("key", "value", "source")


@app.command()
def check(config: ConfigOption = None, output: OutputOption = Output.TABLE) -> None:
    """Check the settings without connecting anywhere. Exit code 1 when they cannot work."""
    settings = load_settings(config, or_topology_file=True)
    file = settings_path(config)
    warnings = warnings_of(settings)
    if output is Output.JSON:
        show_json({"file": str(file), "ok": True, "warnings": list(warnings)})
        return
    for warning in warnings:
        stderr.print(f"warning: {warning}", markup=False)
    say(f"ok: {file}")


@app.command()
def show(config: ConfigOption = None, output: OutputOption = Output.TABLE) -> None:
    """Show every setting in force and where it comes from. Passwords are masked."""
    settings = load_settings(config, or_topology_file=True)
    sources = sources_of(config)
    rows = [
        {"key": path, "value": value, "source": sources.get(path, "default")}
        for path, value in _values(settings).items()
    ]
    show_rows(rows, output, _COLUMNS)


@app.command()
def schema() -> None:
    """Print the JSON schema of the settings file, for editors."""
    show_json(Settings.model_json_schema())


def _values(settings: Settings) -> dict[str, Any]:
    return {
        f"{section}.{key}": shown_value(key, value)
        for section, values in settings.model_dump(mode="json").items()
        for key, value in values.items()
    }
