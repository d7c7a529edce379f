"""Options that the commands of rebalancing share, and how they are read."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from shardrouter.catalog import CatalogStore
from shardrouter.cli.catalog import actor, open_store
from shardrouter.config import Settings
from shardrouter.errors import MoveRefused
from shardrouter.rebalance import Measure, Rebalance, RebalancePlan, Wanted, parse_slots, read_loads
from shardrouter.topology import ShardId, Slot

_SLOTS: Final = re.compile(r"[\d,\- ]+")

ByOption = Annotated[Measure, typer.Option("--by", help="what shall be even over the shards")]
MaxMovesOption = Annotated[
    int | None, typer.Option("--max-moves", min=0, help="at most so many moves", show_default=False)
]
SlotsPerMoveOption = Annotated[
    int | None,
    typer.Option(
        "--slots-per-move", min=1, help="at most so many slots in one move", show_default=False
    ),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude", help="a shard, or slots as 10-20,99; may be repeated", show_default=False
    ),
]
LoadsOption = Annotated[
    Path | None,
    typer.Option(
        "--loads",
        help="JSON: slot to load, for --by load; default: what routers counted",
        show_default=False,
    ),
]
JobsOption = Annotated[int, typer.Option("--jobs", min=1, max=32, help="moves side by side")]
SoakOption = Annotated[
    float | None,
    typer.Option(
        "--soak",
        min=0,
        help="seconds the old copies are kept; default: rebalance.soak_seconds",
        show_default=False,
    ),
]
NoWaitOption = Annotated[
    bool, typer.Option("--no-wait", help="end when the moves soak; `move finish` ends them")
]
MetricsPortOption = Annotated[
    int | None,
    typer.Option(
        "--metrics-port", min=1, max=65535, help="serve Prometheus metrics", show_default=False
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", help="do not ask")]
NumberArgument = Annotated[int, typer.Argument(help="the move", min=1, show_default=False)]


@dataclass(frozen=True, slots=True)
class Bench:
    """What a command works with."""

    api: Rebalance
    store: CatalogStore
    settings: Settings


@contextmanager
def open_rebalance(config: Path | None) -> Iterator[Bench]:
    """Open the fleet that the settings name."""
    with open_store(config) as (store, settings):
        yield Bench(Rebalance(settings, store, actor=actor()), store, settings)


def make_plan(
    bench: Bench,
    by: Measure,
    max_moves: int | None,
    slots_per_move: int | None,
    exclude: Sequence[str] | None,
    loads: Path | None,
) -> RebalancePlan:
    """Read the options and plan."""
    if loads is not None and by is not Measure.LOAD:
        raise typer.BadParameter("it goes with --by load", param_hint="--loads")
    shards, slots = read_exclusions(exclude or ())
    wanted = Wanted(by, max_moves, slots_per_move, shards, slots)
    heat = None if loads is None else read_loads(loads, bench.store.fleet().slots)
    return bench.api.plan(wanted, heat)


def read_exclusions(texts: Sequence[str]) -> tuple[frozenset[ShardId], frozenset[Slot]]:
    """Tell names of shards from lists of slots. Pure."""
    shards: set[ShardId] = set()
    slots: set[Slot] = set()
    for text in texts:
        if _SLOTS.fullmatch(text):
            slots.update(read_slots(text, "--exclude"))
        else:
            shards.add(ShardId(text))
    return frozenset(shards), frozenset(slots)


def read_slots(text: str, option: str) -> tuple[Slot, ...]:
    """Read ``10-20,99``; anything else is wrong usage."""
    try:
        return parse_slots(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def confirm(yes: bool, question: str) -> None:
    """Ask at a terminal; elsewhere refuse unless --yes was given."""
    if yes:
        return
    if not typer.get_text_stream("stdin").isatty():
        raise MoveRefused(f"{question} is not done unasked", hint="repeat the command with --yes")
    typer.confirm(f"{question}?", abort=True, err=True)
