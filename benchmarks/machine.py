"""Say what a result was measured on: machine, versions, commit."""

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from shardrouter.build import is_compiled
from shardrouter.local import describe_binaries

ROOT: Final = Path(__file__).resolve().parent.parent
MEASURED: Final = ("shardrouter", "benchmarks", "setup.py", "pyproject.toml")
"""What a result depends on: changes elsewhere do not make the commit a lie."""

_SYSTEM_PROGRAMS: Final = "/usr/sbin"


def describe_machine() -> dict[str, Any]:
    """Return cores, CPU, memory and the load that was there before we began."""
    return {
        "cores": os.cpu_count(),
        "cpu": cpu_model(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load": round(os.getloadavg()[0], 2),
    }


def describe_versions() -> dict[str, str]:
    """Return the versions that matter, and which build of the hot modules runs."""
    return {
        "python": platform.python_version(),
        "postgres": describe_binaries().partition(" in ")[0],  # without the directory
        "sqlalchemy": version("sqlalchemy"),
        "psycopg": version("psycopg"),
        "psycopg_pool": version("psycopg-pool"),
        "shardrouter": version("shardrouter"),
        "pgbouncer": pgbouncer_version() or "none",
        "build": build_name(),
    }


def build_name() -> str:
    """Return ``compiled`` or ``pure``."""
    return "compiled" if is_compiled() else "pure"


def find_pgbouncer() -> Path | None:
    """Return the program; Debian puts it where the PATH of most users does not lead."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:{_SYSTEM_PROGRAMS}")
    return None if found is None else Path(found)


def pgbouncer_version() -> str | None:
    """Return its version, or None where there is none."""
    program = find_pgbouncer()
    if program is None:
        return None
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"PgBouncer (\d[.\w]*)", told.stdout)
    return found.group(1) if found else None


def cpu_model() -> str:
    """Return the processor's name, or the architecture where Linux does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1) if found else platform.machine()


def describe_commit() -> str | None:
    """Return the commit, ending in ``-dirty`` when what is measured differs from it.

    None outside of a git repository.
    """
    head = _git("rev-parse", "HEAD")
    if head is None:
        return None
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *MEASURED)
    results = "benchmarks/results/"
    is_dirty = any(results not in line for line in (changed or "").splitlines())
    return f"{head}-dirty" if is_dirty else head


def _git(*arguments: str) -> str | None:
    try:
        found = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
