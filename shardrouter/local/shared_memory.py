"""Remove the System V segment a killed postmaster leaves behind.

It is 56 bytes, but a machine has only 4096 of them, and a test run kills many servers. Postgres
itself removes it at the next start; this is for data directories that have no next start.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Final

_TABLE: Final = Path("/proc/sysvipc/shm")
_LINE: Final = 6  # of postmaster.pid: shared memory key and id
_TIMEOUT_SECONDS: Final = 10.0


def remove_segment(data: Path) -> None:
    """Remove the segment named in postmaster.pid if it is that one and nobody uses it."""
    ipcrm = shutil.which("ipcrm")
    try:
        key, segment = (data / "postmaster.pid").read_text().splitlines()[_LINE].split()
        rows = [line.split() for line in _TABLE.read_text().splitlines()[1:]]
    except (OSError, IndexError, ValueError):
        return
    for row in rows:
        is_same = (row[0], row[1]) == (key, segment)
        if ipcrm and is_same and row[6] == "0":  # attached processes
            subprocess.run(
                [ipcrm, "-m", segment], capture_output=True, timeout=_TIMEOUT_SECONDS, check=False
            )
