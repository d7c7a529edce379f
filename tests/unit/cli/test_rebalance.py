"""How options of rebalancing are read, and what is said while moves run."""

from dataclasses import replace
from typing import Any

import pytest
import typer

from shardrouter.cli.isolate import key_types, slot_of_key
from shardrouter.cli.move_progress import MoveDisplay, detail_of, line_of
from shardrouter.cli.output import ExitCode, exit_code_of
from shardrouter.cli.rebalance_options import read_exclusions, read_slots
from shardrouter.cli.rebalance_run import require_end, wanted_end_of
from shardrouter.errors import (
    CommitInDoubt,
    MoveBusy,
    MoveError,
    MoveRefused,
    MoveTakenOver,
    ShardKeyInvalid,
    ShardRouterError,
    StaleEpoch,
)
from shardrouter.rebalance import MoveStatus
from shardrouter.topology import (
    Direction,
    KeyColumn,
    KeyType,
    MoveState,
    Table,
    TableKind,
    Wish,
    slot_of,
)
from tests.support.move_rows import some_move
from tests.support.topologies import small_topology


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MoveRefused("no"), ExitCode.REFUSED),
        (MoveError("mend it"), ExitCode.REFUSED),
        (MoveBusy("ann has it"), ExitCode.BUSY),
        (MoveTakenOver("ann took it"), ExitCode.BUSY),
        (StaleEpoch("changed"), ExitCode.BUSY),
        (CommitInDoubt("who knows"), ExitCode.IN_DOUBT),
    ],
)
def test_exit_codes(error: ShardRouterError, code: ExitCode) -> None:
    assert exit_code_of(error) is code


def test_exclusions_are_shards_or_slots() -> None:
    assert read_exclusions(["s0", "3,7-8", "9"]) == ({"s0"}, {3, 7, 8, 9})
    with pytest.raises(typer.BadParameter):
        read_exclusions(["9-3"])
    with pytest.raises(typer.BadParameter):
        read_slots("x", "--slots")


def sharded(name: str, *types: KeyType) -> Table:
    columns = tuple(KeyColumn(f"k{n}", kind) for n, kind in enumerate(types))
    return Table(name, TableKind.SHARDED, columns)


def test_the_type_of_a_key_is_that_of_the_tables() -> None:
    same = (sharded("a", KeyType.INT8), sharded("b", KeyType.INT4), Table("c", TableKind.REFERENCE))
    topology = replace(small_topology(), tables=same)
    assert key_types(topology) == (KeyType.INT8,)
    assert slot_of_key(topology, ["42"], []) == slot_of([KeyType.INT8], [42], 64)
    assert slot_of_key(topology, ["42"], [KeyType.TEXT]) == slot_of([KeyType.TEXT], ["42"], 64)
    with pytest.raises(ShardKeyInvalid, match="2 value"):
        slot_of_key(topology, ["4", "2"], [])


@pytest.mark.parametrize("tables", [(), (sharded("a", KeyType.INT8), sharded("b", KeyType.TEXT))])
def test_a_type_that_is_not_clear_is_asked_for(tables: tuple[Table, ...]) -> None:
    with pytest.raises(ShardKeyInvalid, match="not clear"):
        key_types(replace(small_topology(), tables=tables))


@pytest.mark.parametrize(
    ("state", "progress", "said"),
    [
        (MoveState.PLANNED, {}, ""),
        (
            MoveState.COPYING,
            {"rows_copied": 5, "bytes_copied": 2000, "rows_per_second": 3, "eta_seconds": 65},
            "5 rows, 2.0 kB, 3 rows/s, 1 min 5 s left",
        ),
        (
            MoveState.COPYING,
            {"waits_for": "a replica", "lag_bytes": 9},
            "9 B behind, waits for a replica",
        ),
        (MoveState.VERIFYING, {"rows_verified": 7}, "7 rows compared"),
        (MoveState.SOAKING, {"soak_seconds_left": 3.0}, "3.0 s left"),
        (MoveState.CLEANING, {"rows_deleted": 8, "lag_bytes": 5}, "8 rows deleted"),
    ],
)
def test_details(state: MoveState, progress: dict[str, Any], said: str) -> None:
    assert detail_of(state, progress) == said


def test_without_a_terminal_a_line_for_each_change_is_told() -> None:
    told: list[str] = []
    move = replace(some_move(number=3), state=MoveState.COPYING)
    display = MoveDisplay([move], told.append)
    display(move, {"rows_copied": 1, "bytes_copied": 5})
    display(move, {"rows_copied": 2, "bytes_copied": 6})
    display(replace(move, attention="mend it"), {})
    assert told == [
        "move 3: copying, s0 -> s1, 2 slots: 1 rows, 5 B",
        "move 3: copying (needs attention), s0 -> s1, 2 slots: mend it",
    ]
    assert line_of(replace(move, held=True), {}) == "move 3: copying (held), s0 -> s1, 2 slots"


def test_the_table_holds_a_row_for_each_move() -> None:
    moves = [some_move(number) for number in (1, 2)]
    table = MoveDisplay(moves, None).__rich__()
    assert table.row_count == 2


def ended(state: MoveState, **changes: Any) -> MoveStatus:
    return MoveStatus(replace(some_move(), state=state, **changes))


def test_the_end_that_was_wanted() -> None:
    done = {1: MoveState.DONE}
    require_end([ended(MoveState.DONE)], done, wait=True)
    require_end([ended(MoveState.SOAKING)], done, wait=False)
    with pytest.raises(MoveRefused, match="move 1 is soaking"):
        require_end([ended(MoveState.SOAKING)], done, wait=True)
    with pytest.raises(MoveRefused, match="move 1 is aborted"):
        require_end([ended(MoveState.ABORTED)], done, wait=True)
    with pytest.raises(MoveError, match="needs attention: rows differ"):
        require_end([ended(MoveState.VERIFYING, attention="rows differ")], done, wait=True)


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({}, MoveState.DONE),
        ({"wish": Wish.ABORT}, MoveState.ABORTED),
        ({"state": MoveState.ABORTING}, MoveState.ABORTED),
        ({"wish": Wish.REVERSE}, MoveState.REVERSED),
        ({"direction": Direction.BACK}, MoveState.REVERSED),
        ({"direction": Direction.BACK, "wish": Wish.FINISH}, MoveState.DONE),
    ],
)
def test_what_was_asked_before_is_carried_out(changes: dict[str, Any], end: MoveState) -> None:
    assert wanted_end_of(replace(some_move(), **changes), MoveState.DONE) is end
