"""The ``shardrouter`` command. One noun a file; this file only puts them together."""

import sys
from typing import Annotated

import typer

from shardrouter.build import describe
from shardrouter.cli import (
    config,
    fleet,
    init,
    isolate,
    migrate,
    move,
    proxy,
    rebalance,
    shard,
    shard_drain,
    slot,
    table,
    topology,
    txn,
)
from shardrouter.cli.output import run_app, say

app = typer.Typer(
    name="shardrouter",
    help="Sharding and replication for stock PostgreSQL.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        say(describe())
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="which build runs"),
    ] = False,
) -> None:
    """Sharding and replication for stock PostgreSQL."""


for command in (fleet.up, fleet.down, fleet.status, fleet.psql):
    app.command(rich_help_panel="Local fleet")(command)

app.command(rich_help_panel="Proxy")(proxy.proxy)

app.command(rich_help_panel="Topology", context_settings=slot.CONTEXT)(slot.slot)

app.command(rich_help_panel="Topology")(init.init)
app.command("migrate", rich_help_panel="Topology")(migrate.command)
rebalance.app.command()(isolate.isolate)
shard.app.command()(shard_drain.drain)
for name, noun in (("rebalance", rebalance), ("move", move)):
    app.add_typer(noun.app, name=name, rich_help_panel="Moves")

for name, noun in (
    ("shard", shard),
    ("table", table),
    ("topology", topology),
    ("config", config),
    ("txn", txn),
):
    app.add_typer(noun.app, name=name, rich_help_panel="Topology")


def run() -> None:
    """Console script entry point."""
    sys.exit(run_app(app))
