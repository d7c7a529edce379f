"""``shardrouter slot``: the slot of a key and, of a fleet, the shard and nodes that hold it."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from shardrouter.catalog import CatalogStore, catalog_engine
from shardrouter.cli.output import Output, OutputOption, say, show_json
from shardrouter.config import load_settings, public_dsn, settings_path
from shardrouter.errors import SettingsError, ShardKeyInvalid
from shardrouter.topology import (
    DEFAULT_SLOTS,
    KeyType,
    Shard,
    Topology,
    is_valid_slot_count,
    parse_key,
    slot_of,
)

# "-1" is a key, not an option; a mistyped option is then a key too many, which is refused.
CONTEXT = {"ignore_unknown_options": True}


def slot(
    key: Annotated[list[str], typer.Argument(help="the key; of a composite key all its values")],
    type_: Annotated[
        list[KeyType], typer.Option("--type", "-t", help="column type, once for each value")
    ],
    slots: Annotated[
        int | None,
        typer.Option(
            help="slot count to compute with, without asking a fleet",
            show_default=f"{DEFAULT_SLOTS}, or that of the fleet",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="settings file of the fleet", show_default="shardrouter.toml if there"),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the slot of a key and, where a fleet is configured, its shard and nodes."""
    values = _read(key, type_)
    topology = _fleet(config, slots)
    count = topology.slots if topology is not None else slots or DEFAULT_SLOTS
    found = slot_of(type_, values, count)
    owner = None if topology is None else topology.owner(found)
    if output is Output.TABLE:
        say(f"slot {found} of {count}" + ("" if owner is None else f": {_where(owner)}"))
        return
    answer: dict[str, Any] = {"key": key, "types": type_, "slots": count, "slot": found}
    if topology is not None and owner is not None:
        answer |= {"epoch": topology.epoch, "shard": owner.id, "nodes": _nodes(owner)}
    show_json(answer)


def _read(key: list[str], types: list[KeyType]) -> list[object]:
    if len(key) != len(types):
        raise ShardKeyInvalid(
            f"{len(key)} value(s) and {len(types)} type(s) were given: {' '.join(key)}",
            hint="give --type once for each value, in the order of the key",
        )
    return [parse_key(key_type, text) for key_type, text in zip(types, key, strict=True)]


def _fleet(config: Path | None, slots: int | None) -> Topology | None:
    """Return the topology of the configured fleet, None when there is none or none is wanted."""
    if slots is not None:
        if config is not None:
            raise SettingsError(
                "--slots and --config exclude each other", hint="a fleet has its own slot count"
            )
        if not is_valid_slot_count(slots):
            raise SettingsError(
                f"{slots} slots is not a power of two from 16 to 16384",
                hint=f"give the slot count of your fleet, {DEFAULT_SLOTS} by default",
            )
        return None
    if config is None and not settings_path().exists() and not _has_catalog_variable():
        return None
    catalog = load_settings(config).catalog
    engine = catalog_engine(
        catalog.dsn, catalog.connect_timeout_seconds, catalog.statement_timeout_seconds
    )
    try:
        return CatalogStore(engine).load()
    finally:
        engine.dispose()


def _has_catalog_variable() -> bool:
    return any(name.startswith("SHARDROUTER__CATALOG__DSN") for name in os.environ)


def _where(shard: Shard) -> str:
    replicas = ", ".join(node.id for node in shard.replicas) or "none"
    return f"shard {shard.id}, primary {shard.primary.id}, replicas {replicas}"


def _nodes(shard: Shard) -> list[dict[str, str]]:
    return [{"id": node.id, "role": node.role, "dsn": public_dsn(node.dsn)} for node in shard.nodes]
