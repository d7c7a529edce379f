"""Run psql, pgbench, pg_dump and others as a user does, with a deadline."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.eventually import PATIENCE

SECONDS: Final = 30.0
_STILL: Final = {
    "PGCONNECT_TIMEOUT": "10",
    "PGSSLMODE": "disable",
    "PSQLRC": "/dev/null",
    "PSQL_HISTORY": "/dev/null",
    "LC_ALL": "C.UTF-8",
}
"""Nothing of the machine's own settings, and English."""

Done = subprocess.CompletedProcess[str]


class Programs:
    """Those beside a fleet's servers, which have their version, or else the machine's."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find(self, name: str) -> str:
        """Return the path of a program; without one, the test is skipped."""
        own = self._directory / name
        found = str(own) if own.exists() else shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not installed")
        return found

    def run(
        self,
        name: str,
        *arguments: str | Path,
        stdin: str | None = None,
        is_good: bool = True,
        seconds: float = SECONDS,
    ) -> Done:
        """Run one to its end. It must succeed, or fail where ``is_good`` is false."""
        done = subprocess.run(
            [self.find(name), *map(str, arguments)],
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            env={**os.environ, **_STILL},
            timeout=seconds * PATIENCE,
        )
        assert (done.returncode == 0) is is_good, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done

    @contextmanager
    def running(self, name: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
        """Start one, with pipes, and end it if the test has not."""
        started = subprocess.Popen(
            [self.find(name), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **_STILL},
        )
        try:
            with started:
                yield started
                if started.poll() is None:
                    started.send_signal(signal.SIGKILL)
        finally:
            if started.poll() is None:
                started.kill()
