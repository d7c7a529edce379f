"""``shardrouter txn list | resolve`` as an operator runs them."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import sql

from shardrouter import Router
from shardrouter.cli.main import app
from shardrouter.cli.output import run_app
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.transfers import Ledger, transfer, with_steps

Accounts = tuple[int, int, int, int]
Run = Callable[..., tuple[int, Any, str]]


class Crash(BaseException):
    """The process that runs the transaction ends here."""


@pytest.fixture
def txn(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; return its exit code, the rows and what it said."""

    def run(*arguments: str) -> tuple[int, Any, str]:
        command = ["txn", *arguments, "-c", str(cluster.settings_path), "-o", "json"]
        capsys.readouterr()
        try:
            code = run_app(lambda: app(command))
        except SystemExit as end:  # how typer ends by itself
            code = int(end.code or 0)
        said = capsys.readouterr()
        return code, json.loads(said.out or "null"), said.err

    return run


@pytest.fixture
def die(router: Router, accounts: Accounts) -> Callable[[str], None]:
    """Leave a transfer behind at a step."""

    def until(name: str) -> None:
        def step(reached: str) -> None:
            if reached == name:
                raise Crash

        with_steps(router, step)
        with pytest.raises(Crash):
            transfer(router, 1, accounts[0], accounts[2])

    return until


def presume_dead_after(cluster: Cluster, seconds: float) -> None:
    with cluster.settings_path.open("a") as settings:
        settings.write(f"[transaction]\npresume_abort_after_seconds = {seconds}\n")


def test_an_undecided_one_is_decided_by_hand(
    txn: Run, die: Callable[[str], None], ledger: Ledger
) -> None:
    assert txn("list") == (0, [], "")
    die("all prepared")
    _, [row], _ = txn("list")
    assert row["state"] == "undecided"
    assert row["branches"] == "s0 prepared, s1 prepared"
    assert row["next"] == "wait: its process may be alive"
    code, [row], _ = txn("resolve")
    assert (code, row["state"]) == (0, "undecided"), "a living process is not in doubt"
    code, _, said = txn("resolve", row["transaction"], "--commit")
    assert code == 1
    assert "--yes" in said
    assert ledger.transfers() == {}
    code, [row], _ = txn("resolve", row["gids"]["s1"], "--commit", "--yes")
    assert (code, row["state"], row["branches"]) == (0, "committed", "s0 committed, s1 committed")
    assert ledger.transfers().keys() == {1}
    assert ledger.prepared() == []
    code, _, said = txn("resolve", row["transaction"], "--abort", "--yes")
    assert code == 1
    assert "decided already: commit" in said
    assert txn("list") == (0, [], "")


def test_what_is_due_is_resolved(
    txn: Run, die: Callable[[str], None], ledger: Ledger, cluster: Cluster
) -> None:
    presume_dead_after(cluster, 0.5)
    die("prepared s0")
    expected = "abort: its process is presumed dead"
    eventually(lambda: txn("resolve", "--dry-run")[1][0]["next"] == expected)
    assert len(ledger.prepared()) == 1
    code, [row], _ = txn("resolve")
    assert (code, row["state"]) == (0, "aborted")
    assert ledger.prepared() == []


def test_half_a_transaction_is_not_committed(
    txn: Run, die: Callable[[str], None], ledger: Ledger
) -> None:
    die("prepared s0")
    _, [row], _ = txn("list")
    assert row["branches"] == "s0 prepared, s1 not there"
    code, _, said = txn("resolve", row["transaction"], "--commit", "--yes")
    assert code == 1
    assert "s1: not there" in said
    code, [row], _ = txn("resolve", row["transaction"], "--abort", "--yes")
    assert (code, row["state"]) == (0, "aborted")
    assert ledger.prepared() == []


def test_a_damaged_one_stays_in_doubt_until_it_is_repaired(
    txn: Run, die: Callable[[str], None], cluster: Cluster, ledger: Ledger
) -> None:
    presume_dead_after(cluster, 0.5)
    die("decided")
    [gid] = [gid for gid in ledger.prepared() if gid.endswith(":s1")]
    with cluster.connect("s1-p") as connection:
        connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
    eventually(lambda: txn("resolve")[0] == 4)
    code, [row], said = txn("resolve")
    assert code == 4
    assert row["state"] == "damaged"
    assert row["damage"] == "decided to commit, but neither prepared nor committed on s1"
    assert row["next"] == "nothing: mend the rows, then --repaired"
    assert "stay in doubt" in said
    assert txn("resolve", row["transaction"])[0] == 4
    assert txn("resolve", row["transaction"], "--repaired", "--yes")[0] == 0
    assert txn("list")[:2] == (0, [])


def test_one_the_journal_forgot(
    txn: Run, die: Callable[[str], None], cluster: Cluster, ledger: Ledger
) -> None:
    die("all prepared")
    with cluster.fleet.catalog.connect(cluster.catalog_database) as connection:
        connection.execute("DELETE FROM shardrouter.transaction_journal")
    code, [row], _ = txn("resolve")
    assert (code, row["state"], row["seconds"]) == (4, "unknown", None)
    assert row["next"] == "nothing: decide with --commit or --abort"
    code, [row], _ = txn("resolve", row["transaction"], "--commit", "--yes")
    assert (code, row["state"]) == (0, "committed")
    assert ledger.transfers().keys() == {1}


def test_what_is_no_transaction(txn: Run, cluster: Cluster) -> None:
    assert txn("resolve", "nonsense")[0] == 2
    assert txn("resolve", "--commit", "--yes")[0] == 2
    code, _, said = txn("resolve", "00000000-0000-4000-8000-000000000000")
    assert code == 1
    assert "neither the journal nor any shard knows" in said
