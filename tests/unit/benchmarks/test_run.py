"""The runner: which benchmarks run, how rows are named, what the result stands on."""

import json

import pytest

from benchmarks import run
from benchmarks.machine import build_name, describe_machine, describe_versions
from benchmarks.progress import Progress
from benchmarks.report import print_table
from benchmarks.rows import Row
from benchmarks.suite import Benchmark, Effort

EFFORT = Effort(Progress(), is_quick=True)


def fake(name, *medians):
    rows = [Row(f"{name} {m}", "x", m, m, m, 1.0) for m in medians]
    return Benchmark(name, lambda effort: rows, is_repeated_pure=True)


def test_the_library_suite_is_found_and_has_unique_names():
    assert "library" in run.suites()
    names = [item.name for item in run.benchmarks_of("library", None)]
    assert len(set(names)) == len(names) >= 6


def test_only_picks_by_part_of_the_name():
    assert [item.name for item in run.benchmarks_of("library", "unit")] == ["unit of work"]


def test_rows_of_a_pure_build_say_so(monkeypatch, capsys):
    monkeypatch.setattr(run, "build_name", lambda: "compiled")
    assert [row.name for row in run.measure([fake("a", 1.0, 2.0)], EFFORT)] == ["a 1.0", "a 2.0"]
    monkeypatch.setattr(run, "build_name", lambda: "pure")
    assert [row.name for row in run.measure([fake("a", 1.0)], EFFORT)] == ["a 1.0 (pure)"]
    assert capsys.readouterr().out == ""  # progress goes to stderr


def test_verdict_names_what_does_not_hold():
    kept, broken = Row("kept", "x", 1, 1, 1, 1.0), Row("broken", "x", 2, 2, 2, 1.0)
    free = Row("free", "us", 9, 9, 9)
    assert run.verdict([kept, free]) == "all 1 bounds hold"
    assert run.verdict([kept, broken, free]) == "1 of 2 bounds do not hold: broken"


def test_head_of_a_result_is_complete():
    head = run.describe_run("library")
    assert set(head) == {"suite", "commit", "date", "machine", "versions", "spread"}
    assert json.loads(json.dumps(head)) == head


def test_machine_and_versions_are_told():
    assert describe_machine().keys() == {"cores", "cpu", "memory_bytes", "load"}
    versions = describe_versions()
    assert versions["build"] == build_name() in ("compiled", "pure")
    assert versions["postgres"].startswith("PostgreSQL ")
    assert {"python", "sqlalchemy", "psycopg", "shardrouter"} <= versions.keys()


@pytest.mark.parametrize("arguments", [["no-such-suite"], ["library", "--repeat", "0"], []])
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        run.parse(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_table_is_printed_with_spread_and_verdict(capsys):
    print_table("library", [Row("a path", "us", 0.5, 0.4, 0.6, 1.0)], [])
    shown = capsys.readouterr().out
    assert "a path" in shown
    assert "0.4 .. 0.6" in shown
    assert "<= 1" in shown
    assert "new" in shown
