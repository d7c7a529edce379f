"""What pgbench prints and logs is read, and anything but success refused."""

import pytest

from benchmarks.measure import WrongAnswer
from benchmarks.proxy.doors import DIRECT, OURS, PEER, PURE, Door
from benchmarks.proxy.peer import SESSION_DATABASE
from benchmarks.proxy.pgbench import (
    Load,
    Outcome,
    Report,
    percentile,
    read_latencies,
    read_report,
)
from benchmarks.proxy.query_cost import cost_rows, doors_for, loads, rate_rows
from benchmarks.proxy.side_by_side import SideBySide

TOLD = """\
pgbench (18.6)
transaction type: <builtin: select only>
query mode: simple
number of clients: 64
number of transactions actually processed: 25984
number of failed transactions: {failed} (0.000%)
latency average = 2.463 ms
initial connection time = 37.210 ms
tps = 25984.125000 (without initial connection time)
"""


def test_report_is_read():
    assert read_report(TOLD.format(failed=0), "a door") == Report(
        25984, 25984.125, pytest.approx(0.03721)
    )


@pytest.mark.parametrize(
    "text",
    [
        TOLD.format(failed=3),
        TOLD.format(failed=0) + "pgbench: error: client 7 aborted in command 1",
        "pgbench: error: connection to server failed",
        "",
    ],
)
def test_failures_are_wrong_answers(text):
    with pytest.raises(WrongAnswer, match="a door"):
        read_report(text, "a door")


def test_latencies_are_read_from_every_log(tmp_path):
    (tmp_path / "log.1").write_text("0 1 812 0 1700000000 25\n1 1 1040 0 1700000000 30\n")
    (tmp_path / "log.1.1").write_text("2 1 99 0 1700000000 31\n")
    assert sorted(read_latencies(tmp_path.iterdir())) == [99, 812, 1040]


@pytest.mark.parametrize(("part", "value"), [(0.99, 99.0), (0.5, 50.0), (1.0, 100.0)])
def test_percentile(part, value):
    assert percentile(list(range(1, 101)), part) == value


def test_percentile_of_nothing_is_no_result():
    with pytest.raises(WrongAnswer, match="no transaction"):
        percentile([], 0.99)


def test_a_quick_run_leaves_cells_out_but_no_mode():
    assert len(loads(is_quick=False)) == 9
    quick = loads(is_quick=True)
    assert len(quick) < 9
    assert {load.mode for load in quick} == {"simple", "extended", "prepared"}
    assert {load.clients for load in quick} == {8, 64, 512}


def test_the_server_itself_takes_part_where_times_count(monkeypatch):
    monkeypatch.setattr("benchmarks.proxy.peer.pgbouncer_version", lambda: "1.18.0")
    doors = {name: Door(name, 1) for name in (DIRECT, PEER, OURS)}
    assert DIRECT in doors_for(doors, Load("simple", 64, 1, is_logged=True))
    assert DIRECT not in doors_for(doors, Load("simple", 8, 1))
    prepared = doors_for(doors, Load("prepared", 8, 1))
    assert (prepared[PEER].database, prepared[PEER].note) == (SESSION_DATABASE, "session pooling")
    assert prepared[OURS] == doors[OURS]


def outcomes(cpu, rate):
    return [Outcome(rate, cpu, cpu / 4, 1e6 / rate)]


LOAD = Load("prepared", 64, 1, is_logged=True)
FOUND = {
    DIRECT: outcomes(0.0, 4000.0),
    PEER: outcomes(20.0, 2000.0),
    OURS: outcomes(24.0, 1900.0),
    PURE: outcomes(30.0, 1500.0),
}


def test_bounds_are_on_the_compiled_proxy_against_its_peer(monkeypatch):
    monkeypatch.setattr("benchmarks.proxy.side_by_side.build_name", lambda: "compiled")
    compared = SideBySide(FOUND, {PEER: "session pooling"})
    rows = [*cost_rows(LOAD, compared), *rate_rows(LOAD, compared)]
    bounded = {row.name: (round(row.median, 3), row.bound) for row in rows if row.bound}
    peer = "pgbouncer (session pooling)"
    assert bounded == {
        f"CPU per query, prepared x 64: shardrouter / {peer}": (1.2, 1.25),
        f"queries per second, prepared x 64: {peer} / shardrouter": (1.053, 1.111),
        f"p99 latency, prepared x 64: shardrouter / {peer}": (1.053, 1.2),
    }
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    assert "CPU per query, prepared x 64: direct" not in names
    assert "queries per second, prepared x 64: shardrouter (pure)" in names


def test_without_a_peer_there_are_rows_but_no_bounds():
    compared = SideBySide({OURS: FOUND[OURS]})
    rows = [*cost_rows(LOAD, compared), *rate_rows(LOAD, compared)]
    assert rows
    assert not [row for row in rows if row.bound]


def test_without_compiled_modules_no_bound_holds_for_anybody(monkeypatch):
    monkeypatch.setattr("benchmarks.proxy.side_by_side.build_name", lambda: "pure")
    rows = cost_rows(LOAD, SideBySide(FOUND))
    assert not [row for row in rows if row.bound]
