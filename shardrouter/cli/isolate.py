"""``shardrouter rebalance isolate``: the slot of a hot key gets another shard."""

from typing import Annotated

import typer

from shardrouter.cli.catalog import ConfigOption, ReasonOption
from shardrouter.cli.output import DryRunOption, Output, OutputOption
from shardrouter.cli.rebalance import apply_plan
from shardrouter.cli.rebalance_options import (
    MetricsPortOption,
    NoWaitOption,
    SoakOption,
    YesOption,
    open_rebalance,
)
from shardrouter.errors import ShardKeyInvalid
from shardrouter.rebalance import isolate as isolate_slot
from shardrouter.topology import KeyType, Slot, TableKind, Topology, parse_key, slot_of

_SAME = {KeyType.INT2: KeyType.INT8, KeyType.INT4: KeyType.INT8, KeyType.VARCHAR: KeyType.TEXT}


def isolate(
    key: Annotated[
        list[str], typer.Option("--key", help="the key; of a composite key each value in order")
    ],
    to: Annotated[str, typer.Option("--to", help="the shard that gets its slot")],
    type_: Annotated[
        list[KeyType] | None,
        typer.Option("--type", help="column types; default: as all sharded tables have them"),
    ] = None,
    soak: SoakOption = None,
    no_wait: NoWaitOption = False,
    metrics_port: MetricsPortOption = None,
    yes: YesOption = False,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Move the slot of one key, with every key that shares it, to a shard of your choice."""
    with open_rebalance(config) as bench:
        topology = bench.store.load()
        batch = isolate_slot(topology, slot_of_key(topology, key, type_ or []), to)
        apply_plan(
            bench,
            bench.api.plan_by_hand(batch),
            output,
            jobs=1,
            soak=soak,
            wait=not no_wait,
            metrics_port=metrics_port,
            yes=yes,
            reason=reason or f"isolate {','.join(key)}",
            dry_run=dry_run,
        )


def slot_of_key(topology: Topology, texts: list[str], types: list[KeyType]) -> Slot:
    """Return the slot of a key as it is typed. Raises ShardKeyInvalid."""
    chosen = types or list(key_types(topology))
    if len(chosen) != len(texts):
        names = ", ".join(chosen)
        raise ShardKeyInvalid(
            f"{len(texts)} value(s) were given for a key of {len(chosen)} ({names})",
            hint="give --key once for each value, in the order of the key",
        )
    values = [parse_key(kind, text) for kind, text in zip(chosen, texts, strict=True)]
    return slot_of(chosen, values, topology.slots)


def key_types(topology: Topology) -> tuple[KeyType, ...]:
    """Return the types of the shard key, if all sharded tables agree. Raises ShardKeyInvalid."""
    found = {
        tuple(_SAME.get(column.type, column.type) for column in table.key)
        for table in topology.tables
        if table.kind is TableKind.SHARDED
    }
    if len(found) != 1:
        kinds = " and ".join(sorted(", ".join(types) for types in found)) or "no sharded table"
        raise ShardKeyInvalid(
            f"the type of the key is not clear: there is {kinds}",
            epoch=topology.epoch,
            hint="say it with --type, once for each value of the key",
        )
    return found.pop()
