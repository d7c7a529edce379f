"""Copy rows between two servers by hand: psql's COPY TO into psql's COPY FROM, both binary.

The plainest way that keeps what a move keeps: the same rows by the same condition, into the same
table with its primary key. ``session_replication_role = replica`` lets rows past the guard of the
shard that does not own them, as it does for a move.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from benchmarks.measure import WrongAnswer
from benchmarks.proxy.doors import environment

TIMEOUT_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class HandCopy:
    """One copy of some rows of a table."""

    psql: Path
    table: str
    condition: str
    """Which rows, as SQL."""

    source_dsn: str
    target_dsn: str

    def run(self) -> float:
        """Copy; return the seconds it took. Raises WrongAnswer when either side failed."""
        read = f"COPY (SELECT * FROM {self.table} WHERE {self.condition}) TO STDOUT (FORMAT binary)"
        write = f"COPY {self.table} FROM STDIN (FORMAT binary)"
        start = perf_counter()
        with subprocess.Popen(
            self._command(self.source_dsn, read), stdout=subprocess.PIPE, env=environment()
        ) as reader:
            writer = subprocess.run(
                self._command(self.target_dsn, write),
                stdin=reader.stdout,
                env=environment(PGOPTIONS="-c session_replication_role=replica"),
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
            if reader.stdout:
                reader.stdout.close()  # a writer that failed must not leave the reader hanging
            code = reader.wait(TIMEOUT_SECONDS)
        if writer.returncode or code:
            raise WrongAnswer(f"the copy by hand failed: {writer.stderr.strip()}")
        return perf_counter() - start

    def _command(self, dsn: str, statement: str) -> list[str]:
        return [os.fspath(self.psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", dsn, "-c", statement]
