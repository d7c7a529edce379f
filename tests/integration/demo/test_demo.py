"""The demo as a user runs it: it ends well, leaves nothing, and says so when an answer is wrong."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from rich.console import Console

import demo.__main__ as program
from demo.plain import compare
from demo.report import Mismatch, Report
from demo.trespass import trespass
from tests.support.eventually import eventually

ROOT = Path(__file__).parents[3]
NODE = re.compile(r"postgresql://\S+")
WAIT_SECONDS = 180  # it takes 40 on two quiet cores

pytestmark = pytest.mark.timeout(200)


class DemoRun:
    """One run of ``python -m demo`` and the servers it started."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "demo"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self.servers: list[tuple[int, Path]] = []

    def read_until(self, text: str) -> None:
        """Read lines up to one that holds the text; the servers are looked at on the way."""
        for line in self.process.stdout or ():
            self.lines.append(line.rstrip("\n"))
            if (found := NODE.search(line)) is not None:
                self.servers.append(_server(found[0]))
            if text in line:
                return
        raise AssertionError(f"{text!r} was not printed in:\n{self.output}")

    def finish(self) -> int:
        rest = self.process.communicate(timeout=WAIT_SECONDS)[0]
        self.lines += rest.splitlines()
        return self.process.returncode

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def has_left_anything(self) -> bool:
        return any(Path(f"/proc/{pid}").exists() or data.exists() for pid, data in self.servers)


@pytest.fixture
def run() -> Iterator[DemoRun]:
    started = DemoRun()
    try:
        yield started
    finally:
        started.kill()


def test_demo_ends_well_and_leaves_nothing(run: DemoRun):
    run.read_until("4096 slots")
    assert len(run.servers) == 4
    assert run.has_left_anything()  # the servers run, so the check below can fail
    assert run.finish() == 0, run.output
    assert run.lines[-1] == "demo: ok"
    assert not any(data.parent.exists() for _, data in run.servers)  # with those that joined
    eventually(lambda: not run.has_left_anything())  # init reaps the last process
    assert "stale reads: 0 of 1,000" in run.output
    assert "ERROR:  SR001" in run.output
    assert re.search(r"1,000 reads over [1-4] backends", run.output)
    assert "wrong answers: 0" in run.output
    assert "slots moved over the fewest that must: 1.00" in run.output
    assert "failed statements: 0; reads that missed a write: 0" in run.output
    assert "rows lost: 0, doubled: 0, on a shard that does not own them: 0" in run.output
    assert run.output.count(": equal (") == 5
    assert "\x1b[" not in run.output, "colours in a pipe"


@pytest.mark.slow
def test_demo_interrupted_leaves_nothing(run: DemoRun):
    run.read_until("rows and ids made")
    os.kill(run.process.pid, signal.SIGINT)
    assert run.finish() == 130, run.output
    assert run.lines[-1] == "demo: interrupted, the fleet is gone"
    assert "Traceback" not in run.output
    eventually(lambda: not run.has_left_anything())


def test_a_wrong_answer_fails_the_demo(monkeypatch, capsys):
    def wrong(report: Report, router: object) -> None:
        raise Mismatch("longest flights, row 2: gathered (1,), plain Postgres (2,)")

    monkeypatch.setattr(program, "run", wrong)
    monkeypatch.setattr(program, "SHARDS", 1)
    monkeypatch.setattr(program, "REPLICAS", 0)
    assert program.main() == 1
    said = capsys.readouterr().out
    assert "demo: failed: longest flights, row 2: gathered (1,), plain Postgres (2,)" in said
    assert "demo: ok" not in said


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([(1, "a")], "1 rows gathered, plain Postgres has 2"),
        ([(1, "a"), (3, "b")], r"row 2: gathered \(3, 'b'\), plain Postgres \(2, 'b'\)"),
        ([(2, "b"), (1, "a")], "row 1"),
        ([(1.0, "a"), (2, "b")], "row 1"),
    ],
)
def test_compare_says_what_differs(found, says):
    with pytest.raises(Mismatch, match=says):
        compare("ranking", found, [(1, "a"), (2, "b")])


def test_trespass_notices_a_shard_without_guard(cluster):
    with cluster.connect("s0-p") as connection:
        connection.execute("CREATE TABLE log_entries (tailnum text, id bigint, note text)")
    refusal = trespass(cluster.dsn("s0-p"), "N1")
    assert not refusal.is_by_guard
    assert refusal.message == "INSERT 0 1"


def test_report_is_aligned_and_plain(capsys):
    report = Report(Console(width=80))
    report.section("Rows")
    report.table(("shard", "rows"), [("s0", 1_200), ("s1", 7)])
    assert (
        capsys.readouterr().out == "\n1. Rows\n   shard   rows\n   s0     1,200\n   s1         7\n"
    )


def _server(dsn: str) -> tuple[int, Path]:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    data = Path(row[0])
    return int((data / "postmaster.pid").read_text().split()[0]), data
