"""Read what the kernel counts for a process: processor time and memory. Linux only (/proc)."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from benchmarks.measure import WrongAnswer

PROC: Final = Path("/proc")
TICKS: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_CPUCLOCK_SCHED: Final = 2  # see clock_getcpuclockid(3): the id of a process's clock is computed
_RESET_PEAK: Final = "5"  # see proc(5), clear_refs
_AFTER_NAME_PARENT: Final = 1  # places in /proc/PID/stat behind the program's name
_AFTER_NAME_USER: Final = 11
_AFTER_NAME_SYSTEM: Final = 12


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Processor time that processes have used so far."""

    total: float
    """Seconds to the nanosecond, from the processes' clocks."""

    user: float
    system: float
    """The same by mode, only to the kernel's tick of 10 ms: good for their ratio."""

    def __sub__(self, earlier: Self) -> "CpuTime":
        return CpuTime(
            self.total - earlier.total, self.user - earlier.user, self.system - earlier.system
        )

    @property
    def user_share(self) -> float:
        """Which part of the time was spent in user mode."""
        return self.user / (self.user + self.system) if self.user + self.system else 0.0


def cpu_time(pids: Iterable[int]) -> CpuTime:
    """Return what the processes used together. Raises WrongAnswer when one has ended."""
    total = user = system = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)
        except OSError:
            raise WrongAnswer(f"process {pid} ended while it was measured") from None
        fields = _stat(pid)
        user += int(fields[_AFTER_NAME_USER]) / TICKS
        system += int(fields[_AFTER_NAME_SYSTEM]) / TICKS
    return CpuTime(total, user, system)


def family(pid: int) -> tuple[int, ...]:
    """Return a process and all its descendants."""
    parents = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_stat(int(entry.name))[_AFTER_NAME_PARENT])
            except WrongAnswer:
                continue
    found = [pid]
    for one in found:  # grows while it is walked
        found += sorted(child for child, parent in parents.items() if parent == one)
    return tuple(found)


def resident_bytes(pids: Iterable[int]) -> int:
    """Return the memory that the processes hold together."""
    return sum(int((PROC / str(p) / "statm").read_text().split()[1]) for p in pids) * PAGE_BYTES


def reset_peak(pids: Iterable[int]) -> None:
    """Let ``peak_bytes`` count from now on."""
    for pid in pids:
        (PROC / str(pid) / "clear_refs").write_text(_RESET_PEAK)


def peak_bytes(pids: Iterable[int]) -> int:
    """Return the most memory that each process held since ``reset_peak``, summed up."""
    return sum(_peak(pid) for pid in pids)


def has_mapped(pid: int, part: str) -> bool:
    """True when the process has a shared object in memory whose path holds ``part``."""
    lines = (PROC / str(pid) / "maps").read_text().splitlines()
    return any(part in line and line.endswith(".so") for line in lines)


def _peak(pid: int) -> int:
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise WrongAnswer(f"the kernel does not tell the peak memory of process {pid}")


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the program's name, which may hold spaces."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        raise WrongAnswer(f"process {pid} ended while it was measured") from None
    return text.rpartition(")")[2].split()
