"""Keep the measured program and the servers on CPUs of their own.

Left alone, the scheduler puts a client and its server process now on one core, now on two; a round
trip then takes 17 or 35 us, for a whole run, for one contender and not for the other. Apart is how
they run in production, and it is the same for all contenders.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


class Cpus:
    """The CPUs of the program and those of the servers. Both have all where there is only one,
    where the system does not let a process choose, or where they are not to be kept apart.
    """

    def __init__(self, are_apart: bool = True) -> None:
        self._all = _allowed()
        self.program = set(sorted(self._all)[:1]) if are_apart else self._all
        self.servers = self._all - self.program or self._all

    @contextmanager
    def servers_start(self) -> Iterator[None]:
        """What is started in the block, in this thread or in those it starts, is a server."""
        _stay_on(self.servers)
        try:
            yield
        finally:
            _stay_on(self._all)

    @contextmanager
    def program_runs(self) -> Iterator[None]:
        """The block is the measured program, with the threads it starts."""
        _stay_on(self.program)
        try:
            yield
        finally:
            _stay_on(self._all)

    @contextmanager
    def load_runs(self) -> Iterator[None]:
        """The block is what puts load on a measured program of another process.

        It takes the servers' CPUs, so that the program has its own for itself.
        """
        _stay_on(self.servers)
        try:
            yield
        finally:
            _stay_on(self._all)


def _allowed() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _stay_on(cpus: set[int]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)
