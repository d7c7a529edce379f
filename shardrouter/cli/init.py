"""``shardrouter init``: install or upgrade the catalog, found the fleet, write the settings."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine

from shardrouter.catalog import (
    CatalogStore,
    Fleet,
    catalog_engine,
    install,
    installed_revision,
    known_revisions,
)
from shardrouter.cli.catalog import ConfigOption, actor
from shardrouter.cli.output import DryRunOption, Output, OutputOption, say, show_json
from shardrouter.config import (
    CatalogSettings,
    check_dsn,
    load_settings,
    public_dsn,
    settings_path,
)
from shardrouter.errors import SettingsError
from shardrouter.topology import DEFAULT_SLOTS, is_valid_slot_count


def init(
    catalog: Annotated[
        str | None,
        typer.Option(
            "--catalog",
            help="DSN of the catalog database; default: the one in the settings",
            show_default=False,
        ),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(
            "--slots", help="slots of a new fleet, for its life", show_default=str(DEFAULT_SLOTS)
        ),
    ] = None,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Install or upgrade the catalog, found an empty fleet, write the settings file.

    May be repeated: what is there already stays as it is.
    """
    file = settings_path(config)
    settings = _catalog_settings(catalog, file, config)
    engine = catalog_engine(
        settings.dsn, settings.connect_timeout_seconds, settings.statement_timeout_seconds
    )
    try:
        revision, fleet = _standing(engine)
        _refuse_other_slots(fleet, slots)
        steps = [
            *_catalog_steps(revision),
            *([] if fleet else [f"found a fleet of {slots or DEFAULT_SLOTS} slots"]),
            *([] if catalog is None or file.exists() else [f"write {file}"]),
        ]
        if not dry_run:
            install(engine)
            found_slots = slots or (fleet.slots if fleet else DEFAULT_SLOTS)
            fleet = CatalogStore(engine).found(found_slots, actor=actor())
            if catalog is not None and not file.exists():
                _write(file, catalog)
    finally:
        engine.dispose()
    _show(settings, fleet, steps, dry_run, output)


def _catalog_settings(catalog: str | None, file: Path, config: Path | None) -> CatalogSettings:
    if catalog is None:
        return load_settings(config).catalog
    check_dsn(catalog, "--catalog")
    if not file.exists():
        return CatalogSettings(dsn=catalog)
    settings = load_settings(file).catalog
    if settings.dsn != catalog:
        raise SettingsError(
            f"{file} (or the environment) names another catalog: {public_dsn(settings.dsn)}",
            hint="leave --catalog out to use that one, or name another file with --config",
        )
    return settings


def _standing(engine: Engine) -> tuple[str | None, Fleet | None]:
    """Return the catalog's revision and its fleet, as far as they are there."""
    revision = installed_revision(engine)
    if revision is None:
        return None, None
    try:
        return revision, CatalogStore(engine).fleet()
    except SettingsError:  # installed, but no fleet was founded
        return revision, None


def _catalog_steps(revision: str | None) -> list[str]:
    head = known_revisions()[-1]
    if revision is None:
        return [f"install the catalog at revision {head}"]
    return [f"upgrade the catalog from revision {revision} to {head}"] if revision < head else []


def _refuse_other_slots(fleet: Fleet | None, slots: int | None) -> None:
    count = slots or DEFAULT_SLOTS
    if not is_valid_slot_count(count):
        raise typer.BadParameter(
            f"{count} is not a power of two from 16 to 16384", param_hint="--slots"
        )
    if fleet is not None and slots not in (None, fleet.slots):
        raise SettingsError(
            f"the fleet has {fleet.slots} slots for life, not {slots}",
            hint="leave --slots out, or found a new fleet in another catalog database",
        )


def _write(file: Path, dsn: str) -> None:
    text = (
        "# Written by `shardrouter init`; `shardrouter config show` lists every key.\n"
        f"[catalog]\ndsn = {json.dumps(dsn, ensure_ascii=False)}\n"
    )
    try:
        # The connection string may hold a password: readable by this user only.
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(text)
    except OSError as error:
        raise SettingsError(
            f"{file} cannot be written: {error}",
            hint="the catalog is installed; write the file elsewhere with --config",
        ) from error


def _show(
    settings: CatalogSettings, fleet: Fleet | None, steps: list[str], dry_run: bool, output: Output
) -> None:
    if output is Output.JSON:
        show_json(
            {
                "catalog": public_dsn(settings.dsn),
                "fleet": fleet and fleet.id,
                "slots": fleet and fleet.slots,
                "epoch": fleet and fleet.epoch,
                "done": [] if dry_run else steps,
                "to_do": steps if dry_run else [],
            }
        )
        return
    for step in steps:
        say(f"dry run: would {step}" if dry_run else f"done: {step}")
    if not steps:
        say("nothing to do")
    if fleet is not None:
        say(f"fleet {fleet.id}, {fleet.slots} slots, epoch {fleet.epoch}")
        if fleet.epoch == 0:
            say("next: `shardrouter shard add s0 --primary postgresql://user@host/database`")
