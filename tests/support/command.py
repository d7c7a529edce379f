"""The ``shardrouter`` command as a process of its own."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

RUN: Final = "from shardrouter.cli.main import run; run()"
TIMEOUT_SECONDS: Final = 50.0


def shardrouter(*arguments: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command to its end and return what it said."""
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
        **options,
    )


def started_shardrouter(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Start the command and return while it runs."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
