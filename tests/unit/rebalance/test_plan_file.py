"""Plan files: read back as written, refused when they are something else or out of date."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from shardrouter.errors import MoveRefused, StaleEpoch
from shardrouter.rebalance.planning.plan import Batch, Measure
from shardrouter.rebalance.planning.plan_file import plan_as_data, read_plan, write_plan
from shardrouter.rebalance.planning.price import Basis, Expected, Price, Rates
from shardrouter.rebalance.planning.priced_plan import PlannedMove, RebalancePlan
from shardrouter.topology import Epoch, ShardId, Slot

S0, S1 = ShardId("s0"), ShardId("s1")
PRICE = Price(
    rows=3,
    bytes=900,
    copy_seconds=1.5,
    retained_wal_bytes=10,
    pause_seconds=0.05,
    target_bytes_after=1000,
    target_free_bytes_after=None,
)
PLAN = RebalancePlan(
    fleet=UUID(int=7),
    epoch=Epoch(4),
    made_at=datetime(2026, 11, 25, 12, tzinfo=UTC),
    measure=Measure.COUNT,
    imbalance_before=1.5,
    imbalance_after=1.0,
    left_to_drain=0,
    hot=(Slot(9),),
    rates=Rates(Expected(600.0, Basis.ASSUMED), Expected(0.05, Basis.MEASURED), {S0: 3.0, S1: 0.0}),
    moves=(PlannedMove(Batch(S0, S1, (Slot(1), Slot(2))), PRICE),),
)


def test_a_plan_is_read_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_plan(PLAN, path)
    assert read_plan(path) == PLAN
    assert json.loads(path.read_text()) == plan_as_data(PLAN)


def test_sums() -> None:
    assert (PLAN.slots, PLAN.rows, PLAN.bytes) == (2, 3, 900)


def spoilt(**changes: Any) -> str:
    return json.dumps(plan_as_data(PLAN) | changes)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", spoilt(format=2), spoilt(more=1), spoilt(plan={"epoch": 1})]
)
def test_anything_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(MoveRefused, match="holds no plan of format 1"):
        read_plan(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(MoveRefused, match="there is no plan"):
        read_plan(tmp_path / "none.json")
    with pytest.raises(MoveRefused, match="cannot be written"):
        write_plan(PLAN, tmp_path / "no" / "folder.json")


def test_a_plan_holds_for_one_epoch_of_one_fleet() -> None:
    PLAN.require_current(PLAN.fleet, PLAN.epoch)
    with pytest.raises(StaleEpoch, match="plan is of epoch 4, the fleet is at 5"):
        PLAN.require_current(PLAN.fleet, Epoch(5))
    with pytest.raises(StaleEpoch, match="plan is of fleet"):
        replace(PLAN, fleet=UUID(int=8)).require_current(PLAN.fleet, PLAN.epoch)
