"""Moves of slots between live shards: what to move, what it costs, and how it is done."""

from shardrouter.rebalance.api import Rebalance
from shardrouter.rebalance.checking.verify_again import Verification
from shardrouter.rebalance.dry_run import Statement, statements_of
from shardrouter.rebalance.loads import read_loads
from shardrouter.rebalance.mover import Mover, Stops
from shardrouter.rebalance.planning.isolate import isolate, move_of
from shardrouter.rebalance.planning.plan import Batch, Measure, Proposal, Wanted, propose
from shardrouter.rebalance.planning.plan_file import plan_as_data, read_plan, write_plan
from shardrouter.rebalance.planning.price import Basis, Expected, Price, Rates
from shardrouter.rebalance.planning.priced_plan import PlannedMove, RebalancePlan
from shardrouter.rebalance.planning.slot_list import describe_slots, parse_slots
from shardrouter.rebalance.running.limits import ADJUSTABLE, with_limits
from shardrouter.rebalance.running.move_metrics import MoveMetrics
from shardrouter.rebalance.running.run_moves import Crew, OnProgress, Stop, ignore
from shardrouter.rebalance.running.status import MoveStatus
from shardrouter.rebalance.running.watch_moves import WATCH_EVERY_SECONDS, MoveWatch

__all__ = [
    "ADJUSTABLE",
    "WATCH_EVERY_SECONDS",
    "Basis",
    "Batch",
    "Crew",
    "Expected",
    "Measure",
    "MoveMetrics",
    "MoveStatus",
    "MoveWatch",
    "Mover",
    "OnProgress",
    "PlannedMove",
    "Price",
    "Proposal",
    "Rates",
    "Rebalance",
    "RebalancePlan",
    "Statement",
    "Stop",
    "Stops",
    "Verification",
    "Wanted",
    "describe_slots",
    "ignore",
    "isolate",
    "move_of",
    "parse_slots",
    "plan_as_data",
    "propose",
    "read_loads",
    "read_plan",
    "statements_of",
    "with_limits",
    "write_plan",
]
