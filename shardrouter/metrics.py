"""The Prometheus metrics of the library door."""

from typing import Final

from prometheus_client import Counter

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
