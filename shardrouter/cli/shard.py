"""``shardrouter shard add | prepare | list | remove``; ``drain`` is in ``shard_drain``."""

from typing import Annotated, Any

import typer

from shardrouter.cli.catalog import ConfigOption, ReasonOption, open_store
from shardrouter.cli.output import DryRunOption, Output, OutputOption, show_json, show_rows
from shardrouter.cli.publish import publish, publish_change, show_change
from shardrouter.cli.shard_tables import (
    notes_of_preparation,
    preparation_of,
    show_preparation,
)
from shardrouter.config import check_dsn, public_dsn
from shardrouter.control import examine_shard, with_shard, without_shard
from shardrouter.topology import Node, NodeId, Role, Shard, ShardId, Topology

app = typer.Typer(help="Add, list, drain and remove shards.", no_args_is_help=True)

_COLUMNS = ("shard", "weight", "slots", "node", "role", "zone", "dsn")

NameArgument = Annotated[str, typer.Argument(help="the shard", show_default=False)]


@app.command()
def add(
    name: NameArgument,
    primary: Annotated[
        str, typer.Option("--primary", help="DSN of its primary", show_default=False)
    ],
    replica: Annotated[
        list[str] | None,
        typer.Option("--replica", help="DSN of a replica; may be repeated", show_default=False),
    ] = None,
    weight: Annotated[
        int, typer.Option("--weight", min=0, max=1000, help="share of the slots, relative")
    ] = 1,
    no_tables: Annotated[
        bool, typer.Option("--no-tables", help="do not make the registered tables there")
    ] = False,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Add a shard after checking its nodes, with the registered tables and reference rows.

    Slots come at once only while there are no tables; later `rebalance apply` brings them.
    """
    shard = _shard(name, primary, replica or [], weight)
    with open_store(config) as (store, settings):
        before = store.find()
        after = with_shard(before, shard, store.fleet().slots)
        notes = list(examine_shard(shard, before, settings.pool.connect_timeout_seconds))
        because = reason or f"shard add {name}"
        if after.tables and not no_tables:
            preparation = preparation_of(store, settings, after, shard, replace=True)
            if dry_run:
                done = preparation.look()
            else:
                done = preparation.run(lambda: publish(store, before, after, reason=because))
            notes += notes_of_preparation(done, shard.id, dry_run=dry_run)
        elif not dry_run:
            publish(store, before, after, reason=because)
        notes += _notes_after_add(after, shard, with_tables=not no_tables)
        show_change(before, after, dry_run=dry_run, notes=notes, output=output)


@app.command()
def prepare(
    name: NameArgument,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make the registered tables on a shard that lacks them, with guards and reference rows."""
    with open_store(config) as (store, settings):
        topology = store.load()
        preparation = preparation_of(store, settings, topology, topology.shard(name), replace=False)
        done = preparation.look() if dry_run else preparation.run(lambda: topology.epoch)
    show_preparation(done, dry_run=dry_run, output=output)


@app.command("list")
def list_shards(config: ConfigOption = None, output: OutputOption = Output.TABLE) -> None:
    """List the shards with their nodes and how many slots they own."""
    with open_store(config) as (store, _):
        topology = store.find()
    if output is Output.JSON:
        show_json(shards_as_data(topology))
        return
    rows = [
        {**{k: v for k, v in shard.items() if k != "nodes"}, **node}
        for shard in shards_as_data(topology)
        for node in shard["nodes"]
    ]
    show_rows(rows, output, _COLUMNS, empty="no shards yet: `shardrouter shard add`")


@app.command()
def remove(
    name: NameArgument,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove a shard that owns no slots and no local tables. Its databases are left alone."""
    with open_store(config) as (store, _):
        before = store.load()
        publish_change(
            store,
            before,
            without_shard(before, name, store.moves().list(unfinished=True)),
            reason=reason or f"shard remove {name}",
            dry_run=dry_run,
            notes=[],
            output=output,
        )


def shards_as_data(topology: Topology | None) -> list[dict[str, Any]]:
    """Return the shards for JSON, passwords masked."""
    if topology is None:
        return []
    counts = topology.slot_counts()
    return [
        {
            "shard": shard.id,
            "weight": shard.weight,
            "slots": counts[shard.id],
            "nodes": [
                {
                    "node": node.id,
                    "role": node.role.value,
                    "zone": node.zone,
                    "dsn": public_dsn(node.dsn),
                }
                for node in shard.nodes
            ],
        }
        for shard in topology.shards
    ]


def _shard(name: str, primary: str, replicas: list[str], weight: int) -> Shard:
    check_dsn(primary, "--primary")
    nodes = [Node(NodeId(f"{name}-p"), Role.PRIMARY, primary)]
    for number, dsn in enumerate(replicas, start=1):
        check_dsn(dsn, "--replica")
        nodes.append(Node(NodeId(f"{name}-r{number}"), Role.REPLICA, dsn))
    return Shard(ShardId(name), tuple(nodes), weight)


def _notes_after_add(after: Topology, shard: Shard, *, with_tables: bool) -> list[str]:
    notes = []
    if not after.slot_counts()[shard.id]:
        notes.append(
            f"shard {shard.id} owns no slots: tables are registered, so moves must bring them"
            if after.tables
            else f"shard {shard.id} owns no slots: its weight is 0"
        )
    if after.tables and not with_tables:
        notes.append(f"make the tables there first: `shardrouter shard prepare {shard.id}`")
    if after.tables and shard.weight:
        notes.append("next: `shardrouter rebalance plan`, then `shardrouter rebalance apply`")
    return notes
