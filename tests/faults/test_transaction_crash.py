"""kill -9 of a process at every step of a commit over two shards; another process finishes it."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from shardrouter import Router
from shardrouter.catalog import TransactionJournal
from shardrouter.control.in_doubt import resolve_once
from shardrouter.topology import ShardId
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.transfer_process import BEFORE_COMMIT, start, transfer_many, transfer_until
from tests.support.transfers import Ledger, balance, create_tables, fund, keys_of

SHARDS = [ShardId("s0"), ShardId("s1")]
PROCESSES, THREADS, SEED = 10, 10, 20130101


@pytest.fixture
def router(cluster: Cluster) -> Iterator[Router]:
    create_tables(cluster)
    with Router.from_config(cluster.settings_path) as opened, opened.causal():
        yield opened


def resolve(router: Router, presume_abort_after_seconds: float) -> None:
    background = router._core.background
    journal = TransactionJournal(background.catalog)
    resolve_once(journal, background.connect_primary, presume_abort_after_seconds, sweep=SHARDS)


@pytest.mark.parametrize(
    ("step", "is_committed"),
    [
        (BEFORE_COMMIT, False),
        ("begun", False),
        ("prepared s0", False),
        ("prepared s1", False),
        ("all prepared", False),
        ("decided", True),
        ("settled s0", True),
        ("settled s1", True),
        ("finished", True),
    ],
)
def test_killed_at_a_step(step: str, is_committed: bool, router: Router, cluster: Cluster) -> None:
    ledger = Ledger(cluster)
    [a], [b] = keys_of(router, "s0", 1), keys_of(router, "s1", 1)
    fund(router, [a, b])
    process = start(transfer_until, cluster.settings_path, step, a, b)
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    resolve(router, 0.0)
    moved = 10 if is_committed else 0
    assert (balance(router, a), balance(router, b)) == (100 - moved, 100 + moved)
    assert ledger.prepared() == []
    if step != BEFORE_COMMIT:
        assert ledger.journal() == [("commit" if is_committed else "abort", True, None)]


def test_a_hundred_transfers_at_once_with_processes_killed_at_random(
    router: Router, cluster: Cluster, tmp_path: Path
) -> None:
    """The sum is the same, no half of a transfer stands alone, nothing acknowledged is lost."""
    ledger, acks = Ledger(cluster), tmp_path / "acks"
    keys = keys_of(router, "s0", 10), keys_of(router, "s1", 10)
    fund(router, [*keys[0], *keys[1]])
    processes = []
    for i in range(PROCESSES):
        numbers = [i * THREADS + n for n in range(THREADS)]
        steps_to_live = 0 if i == 0 else 7 * i  # one lives, the others die ever later
        processes.append(
            start(
                transfer_many, cluster.settings_path, SEED + i, numbers, keys, steps_to_live, acks
            )
        )

    def all_ended() -> bool:
        resolve(router, 1.0)
        return all(process.exitcode is not None for process in processes)

    eventually(all_ended, 45)
    exits = [process.exitcode for process in processes]
    assert exits.count(-signal.SIGKILL) >= 5, exits
    resolve(router, 0.0)
    assert ledger.prepared() == []
    assert ledger.total() == 2000
    transfers = ledger.transfers()
    assert all(sum(halves) == 0 and len(halves) == 2 for halves in transfers.values())
    acknowledged = {int(line) for line in acks.read_text().split()}
    assert acknowledged <= transfers.keys()
    assert len(acknowledged) >= 20
    assert all(finished and damage is None for _, finished, damage in ledger.journal())
