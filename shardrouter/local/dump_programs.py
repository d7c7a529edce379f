"""Find a pg_dump that can read one server and whose script another one understands."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shardrouter.errors import FleetError
from shardrouter.local.binaries import program_directories

PROGRAMS: Final = ("pg_dump", "pg_restore")
_VERSION_TIMEOUT_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class DumpPrograms:
    """A directory with pg_dump and pg_restore of one version."""

    directory: Path
    major: int


def find_dump_programs(source_major: int, target_major: int) -> DumpPrograms:
    """Return programs that read a server of the one version and write for one of the other.

    Raises FleetError when none of this machine can.
    """
    found = list(_installed())
    best = choose(found, source_major, target_major)
    if best is None:
        versions = ", ".join(str(programs.major) for programs in found) or "none"
        raise FleetError(
            f"a pg_dump of PostgreSQL {source_major} or newer is needed, found here: {versions}",
            hint=f"`apt-get install postgresql-client-{source_major}`, or"
            " pip install 'shardrouter[embedded]'; without one make the tables with"
            " `shardrouter migrate` or router.create_all",
        )
    return best


def choose(
    found: Sequence[DumpPrograms], source_major: int, target_major: int
) -> DumpPrograms | None:
    """Return the fittest: of the target's version, else the oldest that can read the source.

    pg_dump refuses a newer server than itself. Pure.
    """
    able = [programs for programs in found if programs.major >= source_major]
    return min(able, key=lambda p: (p.major != target_major, p.major), default=None)


def _installed() -> list[DumpPrograms]:
    found = []
    for directory in program_directories():
        if all((directory / name).exists() for name in PROGRAMS):
            major = _major_of(directory / PROGRAMS[0])
            if major is not None:
                found.append(DumpPrograms(directory, major))
    return found


def _major_of(program: Path) -> int | None:
    try:
        told = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"\) (\d+)", told.stdout)
    return int(version[1]) if told.returncode == 0 and version else None
