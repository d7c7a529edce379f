"""Find, signal and wait for the processes of one data directory.

A process counts as ours only when it is a PostgreSQL program that stands in the data directory or
was started with ``-D`` and that path. A bare process id, as in postmaster.pid, proves nothing:
after a crash or a reboot it may belong to anybody.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

POLL_SECONDS: Final = 0.01
_PROGRAMS: Final = frozenset({"postgres", "initdb", "pg_ctl", "pg_basebackup"})
_PROC: Final = Path("/proc")
_PS_TIMEOUT_SECONDS: Final = 10.0


def processes_of(data: Path) -> tuple[int, ...]:
    """Return the process ids at work in the data directory, which must be a real path."""
    if (_PROC / "self" / "cwd").exists():
        return tuple(pid for pid in _all_pids() if _belongs(pid, data))
    return listed_by_ps(data)


def postmaster_of(data: Path) -> int | None:
    """Return the process id of the running postmaster, or None."""
    try:
        first = (data / "postmaster.pid").read_text().partition("\n")[0]
        pid = abs(int(first))
    except (OSError, ValueError):
        return None
    if (_PROC / "self" / "cwd").exists():
        return pid if _belongs(pid, data) else None
    return pid if pid in listed_by_ps(data) else None


def send(pids: Sequence[int], number: signal.Signals) -> None:
    """Signal processes; those already gone are no error."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def wait_gone(data: Path, seconds: float) -> bool:
    """Wait until no process is left in the data directory; False when the time ran out."""
    left: tuple[int, ...] = ()

    def none_left() -> bool:
        nonlocal left  # looking through all processes of the machine is dear, so only at the end
        left = tuple(pid for pid in left if _belongs(pid, data)) or processes_of(data)
        return not left

    return wait_until(none_left, seconds)


def kill_all(data: Path, seconds: float) -> bool:
    """SIGKILL every process of the data directory and wait; False when the time ran out."""

    def none_left() -> bool:
        left = processes_of(data)
        send(left, signal.SIGKILL)
        return not left

    return wait_until(none_left, seconds)


def wait_until(is_done: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition holds; False when the time ran out."""
    deadline = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def listed_by_ps(data: Path) -> tuple[int, ...]:
    """The same from ``ps``, where there is no /proc: programs by command, then their children."""
    told = subprocess.run(
        ["ps", "-axww", "-o", "pid=,ppid=,command="],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_PS_TIMEOUT_SECONDS,
        check=True,
    )
    rows = [
        (int(pid), int(parent), command)
        for pid, parent, command in re.findall(r"^\s*(\d+)\s+(\d+)\s+(.*)$", told.stdout, re.M)
    ]
    ours = {pid for pid, _, command in rows if _names(command, data)}
    return tuple(pid for pid, parent, _ in rows if pid in ours or parent in ours)


def _names(command: str, data: Path) -> bool:
    program = os.path.basename(command.partition(" -")[0])
    return program in _PROGRAMS and f"{command} ".find(f" -D {data} ") >= 0


def _all_pids() -> Iterator[int]:
    return (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())


def _belongs(pid: int, data: Path) -> bool:
    """Race: the process may end at any point here, and is then not ours."""
    process = _PROC / str(pid)
    try:
        if _directory_of(process) == str(data):
            return (process / "comm").read_text().strip() in _PROGRAMS
        words = (process / "cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return False
    is_program = os.path.basename(words[0]) in _PROGRAMS
    return is_program and ("-D", str(data)) in pairwise(words)


def _directory_of(process: Path) -> str | None:
    try:
        return os.readlink(process / "cwd").removesuffix(" (deleted)")
    except PermissionError:  # of another user, or of another container; its command may tell
        return None
