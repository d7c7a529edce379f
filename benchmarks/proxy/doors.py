"""The ways to a server that are compared, and the processes behind each."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import psycopg

from benchmarks.measure import WrongAnswer
from benchmarks.proxy.accounting import family

HOST: Final = "127.0.0.1"
DIRECT: Final = "direct"
PEER: Final = "pgbouncer"
OURS: Final = "shardrouter"
PURE: Final = "shardrouter (pure)"

DATABASE: Final = "app"
USER: Final = "postgres"
CLIENTS_MAX: Final = 12_000
"""Clients that each proxy is set up for."""

POOL_SIZE: Final = 20
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.02
_LOG_TAIL_CHARACTERS: Final = 1500


@dataclass(frozen=True, slots=True)
class Door:
    """A contender: where to connect, and the processes whose costs are its own."""

    name: str
    port: int
    database: str = DATABASE
    pids: tuple[int, ...] = ()
    note: str = ""
    """What a row has to say about it besides its name."""

    options: str = ""
    """Startup options, such as the shard on a fleet of several."""

    @property
    def dsn(self) -> str:
        """Return the address for psycopg."""
        return (
            f"host={HOST} port={self.port} user={USER} dbname={self.database}"
            f" sslmode=disable gssencmode=disable connect_timeout=5 options='{self.options}'"
        )


@contextmanager
def started(
    name: str, command: Sequence[str | Path], port: int, log: Path, *, options: str = "", **how: Any
) -> Iterator[Door]:
    """Run a proxy for the block, from the moment it answers.

    Raises WrongAnswer with the end of its log when it does not start.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            **how,
        )
    try:
        door = Door(name, port, options=options)
        _wait_answer(door, process, log)
        yield replace(door, pids=family(process.pid))
    finally:
        _stop(process)


def environment(**changes: str | None) -> Mapping[str, str]:
    """Return this process's environment without what could change a program's settings."""
    foreign = ("PG", "SHARDROUTER__", "SHARDROUTER_CONFIG")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    kept |= {k: v for k, v in changes.items() if v is not None}
    return {k: v for k, v in kept.items() if changes.get(k, v) is not None}


def until(is_done: Callable[[], bool], seconds: float) -> bool:
    """Poll a condition; False when the time ran out."""
    deadline = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _wait_answer(door: Door, process: subprocess.Popen[bytes], log: Path) -> None:
    said = "nothing"

    def answers() -> bool:
        nonlocal said
        if process.poll() is not None:
            return True
        try:
            with psycopg.connect(door.dsn, autocommit=True) as connection:
                return connection.execute("SELECT 42").fetchone() == (42,)
        except psycopg.Error as error:
            said = str(error)
            return False

    is_up = until(answers, START_SECONDS)
    if process.poll() is not None or not is_up:
        tail = log.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:].strip()
        raise WrongAnswer(f"{door.name} does not answer ({said}); its log ends:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM; then SIGKILL to it and what it started."""
    everybody = family(process.pid)
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in everybody:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait(STOP_SECONDS)
