"""What a fleet's directory says about it: finished, half made, or nothing.

``fleet.json`` describes a finished fleet and is written last. ``fleet.making.json`` is written
first and names the place of the servers, so that whatever a killed command left can be found and
removed. A lock file keeps two commands from working on one fleet at once.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import psycopg

from shardrouter.errors import FleetError
from shardrouter.local.processes import POLL_SECONDS
from shardrouter.topology import NodeId, Role, ShardId

STATE_FILE: Final = "fleet.json"
MARKER_FILE: Final = "fleet.making.json"
LOCK_FILE: Final = "lock"
LOCK_TIMEOUT_SECONDS: Final = 60.0  # longer than a start takes on an overloaded machine
HALF_WRITTEN: Final = ("fleet.part", "fleet.making.part")
FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server as it is remembered."""

    id: NodeId
    shard_id: ShardId | None
    role: Role
    port: int


@dataclass(frozen=True, slots=True)
class FleetState:
    """A finished fleet as it is remembered. The catalog has no shard; primaries come first."""

    place: Path
    """The directory of the data directories."""

    binaries: Path
    major: int
    """Version of Postgres that made the data."""

    fsync: bool
    servers: tuple[ServerState, ...]

    def write(self, data: Path) -> None:
        body = {
            "format": FORMAT,
            **asdict(self),
            "place": str(self.place),
            "binaries": str(self.binaries),
        }
        _write_atomically(data / STATE_FILE, body)

    @classmethod
    def read(cls, data: Path) -> Self | None:
        """Return what the directory says, None when it holds no finished fleet.

        Raises FleetError when the file is not ours.
        """
        file = data / STATE_FILE
        try:
            body = json.loads(file.read_text())
            if body["format"] != FORMAT:
                raise ValueError(f"format {body['format']}")
            return cls(
                place=Path(body["place"]),
                binaries=Path(body["binaries"]),
                major=int(body["major"]),
                fsync=bool(body["fsync"]),
                servers=tuple(_server_from(item) for item in body["servers"]),
            )
        except FileNotFoundError:
            return None
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise _unreadable(file, error) from error


def write_marker(data: Path, place: Path) -> None:
    """Say that servers are being made, or removed, in ``place``."""
    _write_atomically(data / MARKER_FILE, {"place": str(place)})


def read_marker(data: Path) -> Path | None:
    """Return where a command was making servers when it died, or None. Raises FleetError."""
    try:
        return Path(json.loads((data / MARKER_FILE).read_text())["place"])
    except FileNotFoundError:
        return None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise _unreadable(data / MARKER_FILE, error) from error


@contextmanager
def fleet_errors(data: Path) -> Iterator[None]:
    """Turn what the system, or a server, says into FleetError."""
    try:
        yield
    except OSError as error:
        raise FleetError(
            f"the local fleet in {data} failed: {error}",
            hint="is there room on the disk (`df -h`), and may you write there? "
            "If not, name another directory with --data",
        ) from error
    except psycopg.Error as error:
        raise FleetError(
            f"a server of the local fleet in {data} failed: {str(error).strip()}",
            hint=f"look at `shardrouter status`, and at the logs below {data}",
        ) from error


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Hold the fleet's lock; it falls with the process, however that ends.

    Raises FleetError when another command holds it for too long.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while True:
        descriptor = os.open(data / LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            if _take(descriptor, data / LOCK_FILE):
                yield
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > deadline:
            raise FleetError(
                f"another command has been working on {data} for {LOCK_TIMEOUT_SECONDS:.0f} s",
                hint="wait for it, or end it and try again",
            )
        time.sleep(POLL_SECONDS)


def _take(descriptor: int, path: Path) -> bool:
    """Race: the holder before us may have removed the file, so ours must still be the one there."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


def _unreadable(file: Path, error: Exception) -> FleetError:
    return FleetError(
        f"{file} cannot be read: {error!r}",
        hint="was it written by another version of shardrouter? Use another directory",
    )


def _server_from(item: dict[str, Any]) -> ServerState:
    shard = item["shard_id"]
    return ServerState(
        id=NodeId(item["id"]),
        shard_id=None if shard is None else ShardId(shard),
        role=Role(item["role"]),
        port=int(item["port"]),
    )


def _write_atomically(file: Path, body: dict[str, Any]) -> None:
    half = file.with_suffix(".part")
    with half.open("w") as out:
        out.write(json.dumps(body, indent=2) + "\n")
        out.flush()
        os.fsync(out.fileno())
    half.replace(file)
