"""Run what a document shows: write its Python files, run its commands, compare their output.

A Python block whose first line is ``# name.py`` is that file. In a ``console`` block each line
after ``$ `` is a command, and the lines below it what it prints.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME: Final = re.compile(r"# ([\w.]+\.py)$")
CHANGING: Final = (  # what differs from run to run, and what stands for it
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"\b(primary|replica) +\d+( +\d+)?"), r"\1 PORT-AND-PID"),
    (re.compile(r"\brunning +\d+ +\d+\.\d+"), "running LAG"),
)
COMMAND_SECONDS: Final = 40


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a document."""

    language: str
    text: str

    @property
    def file_name(self) -> str | None:
        """Name of the Python file the block is, if it says so."""
        found = FILE_NAME.match(self.text.partition("\n")[0])
        return found[1] if found and self.language == "python" else None


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a console block."""

    text: str
    output: str


def blocks_of(text: str) -> list[Block]:
    """Return the fenced blocks of a document in order."""
    return [Block(*found) for found in BLOCK.findall(text)]


def commands_of(block: Block) -> list[Command]:
    """Return the commands of a console block with the output shown below each."""
    _, *parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    return [Command(*part.split("\n", 1)) for part in parts]


def run_command(command: str, folder: Path) -> tuple[int, str]:
    """Run a command line in a folder; return its exit code and all it prints, in order."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout


def stable(output: str) -> list[str]:
    """Return the lines of an output without what differs from run to run, spaces folded."""
    for pattern, word in CHANGING:
        output = pattern.sub(word, output)
    return [" ".join(line.split()) for line in output.strip().splitlines()]


def run_document(text: str, folder: Path) -> list[str]:
    """Do in the folder what the document tells; return what differs, nothing when all is so."""
    differences: list[str] = []
    for block in blocks_of(text):
        if block.file_name:
            (folder / block.file_name).write_text(block.text)
        if block.language != "console":
            continue
        for command in commands_of(block):
            code, output = run_command(command.text, folder)
            if code != 0 or stable(output) != stable(command.output):
                differences.append(f"$ {command.text}\nexit code {code}\n{output}")
    return differences
