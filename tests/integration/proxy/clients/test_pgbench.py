"""pgbench through the proxy: all three protocols, more clients than backends, balances agree."""

import re
from collections.abc import Iterator

import pytest

from tests.support.clients.programs import Programs
from tests.support.cluster import Connection
from tests.support.proxy import ProxyProcess

TABLES = ("accounts", "branches", "tellers", "history")
CLIENTS, TRANSACTIONS = 12, 15
POOL_SIZE = 3


@pytest.fixture(scope="module")
def bench(special_proxy, programs: Programs) -> Iterator[ProxyProcess]:
    """The tables of pgbench, made and filled through a proxy with fewer backends than clients."""
    narrow = special_proxy(proxy_pool={"size": POOL_SIZE})
    programs.run("pgbench", "-i", "-s", "1", "-q", narrow.dsn())
    yield narrow
    with narrow.cluster.connect("s0-p") as connection:
        for table in TABLES:
            connection.execute(f"DROP TABLE pgbench_{table}")


def pgbench(programs: Programs, proxy: ProxyProcess, *arguments: str) -> int:
    """Run it; return how many transactions were done.

    A thread for each client: a thread of pgbench that prepares waits for the answer, while its
    other clients hold transactions, and backends, that it does not go on with.
    """
    counts = ("-c", str(CLIENTS), "-j", str(CLIENTS), "-t", str(TRANSACTIONS), "-n")
    told = programs.run("pgbench", *counts, *arguments, proxy.dsn())
    assert "aborted" not in told.stdout + told.stderr
    found = re.search(r"actually processed: (\d+)/(\d+)", told.stdout)
    assert found is not None and found[1] == found[2], told.stdout
    return int(found[1])


def books(connection: Connection) -> tuple[int, ...]:
    """Return the three sums of balances, and that of the history's deltas."""
    sums = [f"(SELECT sum({t[0]}balance) FROM pgbench_{t})" for t in TABLES[:3]]
    row = connection.execute(
        f"SELECT {', '.join(sums)}, (SELECT coalesce(sum(delta), 0) FROM pgbench_history),"
        " (SELECT count(*) FROM pgbench_history)"
    ).fetchone()
    assert row is not None
    return tuple(row)


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_balances_agree(bench: ProxyProcess, programs: Programs, protocol: str):
    with bench.cluster.connect("s0-p") as connection:
        before = books(connection)
        done = pgbench(programs, bench, "-M", protocol)
        *sums, count = books(connection)
    assert done == CLIENTS * TRANSACTIONS
    assert count - before[-1] == done
    assert len(set(sums)) == 1, sums


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_reads(bench: ProxyProcess, programs: Programs, protocol: str):
    assert pgbench(programs, bench, "-S", "-M", protocol) == CLIENTS * TRANSACTIONS


def test_reads_by_new_connections(bench: ProxyProcess, programs: Programs):
    assert pgbench(programs, bench, "-S", "-C") == CLIENTS * TRANSACTIONS


def test_pipelines(bench: ProxyProcess, programs: Programs, tmp_path):
    script = tmp_path / "pipeline.sql"
    script.write_text(
        "\\startpipeline\n"
        + "SELECT abalance FROM pgbench_accounts WHERE aid = 7;\n" * 5
        + "\\endpipeline\n"
    )
    done = pgbench(programs, bench, "-M", "prepared", "-f", str(script))
    assert done == CLIENTS * TRANSACTIONS


def test_no_more_backends_than_allowed(bench: ProxyProcess, programs: Programs):
    pgbench(programs, bench, "-S")
    with bench.admin() as admin:
        backends = admin.execute("SHOW BACKENDS").fetchall()
    assert 0 < len(backends) <= POOL_SIZE


def test_deadlocks_and_failures_are_told(bench: ProxyProcess, programs: Programs, tmp_path):
    """Serialization failures reach pgbench, which repeats the transaction by itself."""
    script = tmp_path / "hot.sql"
    script.write_text(
        "BEGIN ISOLATION LEVEL REPEATABLE READ;\n"
        "UPDATE pgbench_branches SET bbalance = bbalance WHERE bid = 1;\nCOMMIT;\n"
    )
    done = pgbench(programs, bench, "--max-tries=1000", "-f", str(script))
    assert done == CLIENTS * TRANSACTIONS
