"""The commands and programs of README and quick start do what the documents show."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.integration.demo.documents import (
    blocks_of,
    commands_of,
    run_command,
    run_document,
    stable,
)

ROOT = Path(__file__).parents[3]
EXAMPLE = "<!-- example -->"

pytestmark = pytest.mark.timeout(120)  # a program for each command

Follow = Callable[[Path], None]


@pytest.fixture
def follow():
    """Follow a document to its end in an empty directory; no fleet stays behind."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # else the servers' user, when we are root, cannot reach it

        def run(document: Path) -> None:
            differences = run_document(document.read_text(), folder)
            assert not differences, "\n".join(["not as the document shows:", *differences])

        yield run
        run_command("shardrouter down --destroy --yes", folder)


def test_quick_start(follow: Follow):
    follow(ROOT / "docs" / "quick-start.md")


def test_readme_commands(follow: Follow):
    follow(ROOT / "README.md")


def test_readme_example(tmp_path: Path):
    _, marked, rest = (ROOT / "README.md").read_text().partition(EXAMPLE)
    assert marked
    program, output = blocks_of(rest)[:2]
    assert (program.language, output.language) == ("python", "text")
    done = subprocess.run(
        [sys.executable, "-c", program.text],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == output.text


def test_a_document_that_tells_otherwise_is_found(tmp_path: Path):
    text = "```console\n$ echo three\nfour\n$ false\n```\n"
    assert [line.splitlines()[0] for line in run_document(text, tmp_path)] == [
        "$ echo three",
        "$ false",
    ]


def test_what_differs_between_runs_is_left_out():
    assert stable("s0-p  primary  26545  999  running") == stable("s0-p primary 3 4 running")
    assert stable("running   0  0.0 127.0.0.1:26545") == stable("running 81 0.12 127.0.0.1:4")
    assert stable("slot 1209 of 4096") != stable("slot 1210 of 4096")


def test_commands_are_found_with_their_output():
    [block] = blocks_of("text\n```console\n$ one\n1\n\n1\n$ two\n```\n")
    assert [(c.text, c.output) for c in commands_of(block)] == [("one", "1\n\n1\n"), ("two", "")]
