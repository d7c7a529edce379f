"""The Prometheus metrics of the library door, and of moves where they are carried out or seen."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

READS: Final = Counter(
    "shardrouter_reads_total",
    "Read units of work by what answered them: replica, waited (a replica after a wait), primary, "
    "refused",
    ["outcome"],
)

TRANSACTIONS: Final = Counter(
    "shardrouter_transactions_total",
    "Transactions of router.transaction by outcome: committed, pending (committed, and a shard "
    "shows it later), in_doubt, rolled_back",
    ["outcome"],
)

MOVES: Final = Gauge("shardrouter_moves", "Unfinished moves of slots by state", ["state"])

_OF_A_MOVE: Final = ("move", "source", "target")

MOVE_GAUGES: Final[Mapping[str, Gauge]] = {
    name: Gauge(f"shardrouter_move_{name}", text, _OF_A_MOVE)
    for name, text in (
        ("rows_total", "Rows to copy, as they were estimated before"),
        ("rows_copied", "Rows copied so far"),
        ("bytes_total", "Bytes to copy, as they were estimated before, with indexes"),
        ("bytes_copied", "Bytes copied so far"),
        ("lag_bytes", "WAL of the source that the target has not applied"),
        ("retained_bytes", "WAL that the source keeps for the move"),
        ("eta_seconds", "Seconds until the copy is done, by the rate of the last seconds"),
    )
}
"""By the name of the progress they show."""

MOVE_ATTENTION: Final = Gauge(
    "shardrouter_move_attention", "1: the move waits for an operator", _OF_A_MOVE
)

MOVE_PAUSE_SECONDS: Final = Histogram(
    "shardrouter_move_pause_seconds",
    "How long writers to the slots waited at a cutover",
    buckets=(0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0),
)

MOVE_RETRIES: Final = Counter(
    "shardrouter_move_retries_total",
    "Steps of moves that had to be done again: cutover (it was put off), copy (a new attempt)",
    ["what"],
)

MOVE_VERIFICATIONS: Final = Counter(
    "shardrouter_move_verifications_total",
    "Comparisons of the rows of a move by outcome: equal, different",
    ["outcome"],
)
