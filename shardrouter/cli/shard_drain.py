"""``shardrouter shard drain``: weight 0, and on request the moves that take its slots away."""

from dataclasses import replace
from typing import Annotated

import typer

from shardrouter.cli.catalog import ConfigOption, ReasonOption
from shardrouter.cli.output import DryRunOption, Output, OutputOption, stderr
from shardrouter.cli.publish import publish, publish_change
from shardrouter.cli.rebalance import apply_plan
from shardrouter.cli.rebalance_options import (
    Bench,
    JobsOption,
    MetricsPortOption,
    SoakOption,
    YesOption,
    confirm,
    open_rebalance,
)
from shardrouter.cli.shard import NameArgument
from shardrouter.control import drained
from shardrouter.rebalance import Wanted
from shardrouter.topology import ShardId, Slot


def drain(
    name: NameArgument,
    wait: Annotated[
        bool, typer.Option("--wait", help="move its slots away now, and wait for that")
    ] = False,
    jobs: JobsOption = 1,
    soak: SoakOption = None,
    metrics_port: MetricsPortOption = None,
    yes: YesOption = False,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a shard the weight 0, so that it shall own no slots."""
    because = reason or f"shard drain {name}"
    with open_rebalance(config) as bench:
        before = bench.store.load()
        after = drained(before, name)
        left = after.slot_counts()[ShardId(name)]
        if not wait or dry_run or not left:
            notes = [_what_next(name, left)] if left else []
            publish_change(
                bench.store, before, after,
                reason=because, dry_run=dry_run, notes=notes, output=output,
            )  # fmt: skip
            return
        confirm(yes, f"move the {left} slots of shard {name} away")
        if after != before:
            epoch = publish(bench.store, before, after, reason=because)
            stderr.print(f"published epoch {epoch}: shard {name} has weight 0", markup=False)
        plan = bench.api.plan(only_from(bench, ShardId(name)))
        apply_plan(
            bench, plan, output,
            jobs=jobs, soak=soak, wait=True, metrics_port=metrics_port, yes=True,
            reason=because, dry_run=False,
        )  # fmt: skip


def only_from(bench: Bench, shard: ShardId) -> Wanted:
    """Return the wish that moves the slots of one shard and no others."""
    owners = bench.store.load().owners
    others = frozenset(Slot(slot) for slot, owner in enumerate(owners) if owner != shard)
    return replace(Wanted(), excluded_slots=others)


def _what_next(name: str, left: int) -> str:
    return (
        f"shard {name} still owns {left} slots: moves take them away,"
        f" `shardrouter shard drain {name} --wait`"
    )
