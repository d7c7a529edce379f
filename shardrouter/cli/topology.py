"""``shardrouter topology show | history | diff``."""

from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from shardrouter.catalog import CatalogStore, Fleet, LiveRouter
from shardrouter.cli.catalog import ConfigOption, open_store
from shardrouter.cli.output import Output, OutputOption, say, show_json, show_rows
from shardrouter.cli.shard import shards_as_data
from shardrouter.cli.table import tables_as_data
from shardrouter.cli.topology_changes import COLUMNS, changes_between
from shardrouter.topology import Epoch, Topology, slot_ranges

app = typer.Typer(help="Look at the topology, now and before.", no_args_is_help=True)

_SHARD_COLUMNS: Final = ("shard", "weight", "slots", "nodes")
_TABLE_COLUMNS: Final = ("table", "kind", "key", "shard")
_MOTION_COLUMNS: Final = ("move", "motion", "slots", "from", "to", "owner")
_ROUTER_COLUMNS: Final = ("router", "kind", "version", "epoch", "drained_epoch", "expires_at")
_HISTORY_COLUMNS: Final = ("epoch", "at", "actor", "reason")


@app.command()
def show(
    epoch: Annotated[
        int | None, typer.Option("--epoch", min=1, help="this one instead of the current")
    ] = None,
    config: ConfigOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show shards, slots, tables, moves under way, and the routers that serve them."""
    with open_store(config) as (store, _):
        fleet = store.fleet()
        topology = store.find() if epoch is None else store.load_at(Epoch(epoch))
        routers = store.routers()
    if output is Output.JSON:
        show_json(_as_data(fleet, topology, routers))
        return
    shown = 0 if topology is None else topology.epoch
    of_now = "" if shown == fleet.epoch else f" (now {fleet.epoch})"
    say(f"epoch {shown}{of_now} of fleet {fleet.id}, {fleet.slots} slots")
    shards = [
        {**shard, "nodes": ", ".join(node["node"] for node in shard["nodes"])}
        for shard in shards_as_data(topology)
    ]
    show_rows(shards, output, _SHARD_COLUMNS, empty="no shards yet: `shardrouter shard add`")
    for rows, columns in (
        (tables_as_data(topology), _TABLE_COLUMNS),
        (_motion_rows(topology), _MOTION_COLUMNS),
        (_router_rows(routers), _ROUTER_COLUMNS),
    ):
        if rows:
            say("")
            show_rows(rows, output, columns)


@app.command()
def history(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="how many")] = 20,
    config: ConfigOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List who published which epoch and why, newest first."""
    with open_store(config) as (store, _):
        rows = [
            {**asdict(item), "at": item.at.isoformat(sep=" ", timespec="seconds")}
            for item in store.history(limit)
        ]
    show_rows(rows, output, _HISTORY_COLUMNS, empty="no topology was published yet")


@app.command()
def diff(
    before: Annotated[
        int | None,
        typer.Argument(min=0, help="epoch; default: the one before AFTER", show_default=False),
    ] = None,
    after: Annotated[
        int | None, typer.Argument(min=0, help="epoch; default: the current", show_default=False)
    ] = None,
    config: ConfigOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what differs between two epochs. Epoch 0 is the empty fleet."""
    with open_store(config) as (store, _):
        last = store.epoch() if after is None else after
        first = max(0, last - 1) if before is None else before
        changes = changes_between(_at(store, first), _at(store, last))
    rows = [change.to_row() for change in changes]
    if output is Output.JSON:
        show_json({"before": first, "after": last, "changes": rows})
        return
    show_rows(rows, output, COLUMNS, empty=f"epochs {first} and {last} are the same")


def _at(store: CatalogStore, epoch: int) -> Topology | None:
    return None if epoch == 0 else store.load_at(Epoch(epoch))


def _as_data(fleet: Fleet, topology: Topology | None, routers: list[LiveRouter]) -> dict[str, Any]:
    shards = shards_as_data(topology)
    if topology is not None:
        for shard in shards:
            shard["owns"] = slot_ranges(topology.slots_of(shard["shard"]))
    return {
        "fleet": fleet.id,
        "slots": fleet.slots,
        "epoch": 0 if topology is None else topology.epoch,
        "current_epoch": fleet.epoch,
        "shards": shards,
        "tables": tables_as_data(topology),
        "motions": _motion_rows(topology),
        "floors": {} if topology is None else {s: str(at) for s, at in topology.floors},
        "routers": _router_rows(routers),
    }


def _motion_rows(topology: Topology | None) -> list[dict[str, Any]]:
    if topology is None:
        return []
    return [
        {
            "move": motion.move,
            "motion": motion.motion.value,
            "slots": slot_ranges(motion.slots),
            "from": motion.source,
            "to": motion.target,
            "owner": motion.owner(topology.owners),
        }
        for motion in topology.motions
    ]


def _router_rows(routers: list[LiveRouter]) -> list[dict[str, Any]]:
    return [
        {
            "id": str(router.id),
            "router": router.name,
            "kind": router.kind,
            "version": router.version,
            "epoch": router.epoch,
            "drained_epoch": router.drained_epoch,
            "writers_drained_epoch": router.writers_drained_epoch,
            "expires_at": router.expires_at.isoformat(sep=" ", timespec="seconds"),
        }
        for router in routers
    ]
