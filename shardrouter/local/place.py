"""Decide where a fleet's servers live, and remove them from there.

Normally beside ``fleet.json``. Root's servers run as another user, who cannot reach a directory
below a closed home: they then live in a directory of their own below /var/tmp.
"""

import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Final

from shardrouter.errors import FleetError
from shardrouter.local.os_user import OsUser
from shardrouter.local.processes import kill_all, postmaster_of, send, wait_gone
from shardrouter.local.server import LOGS, StopMode
from shardrouter.local.shared_memory import remove_segment

COPIED_BINARIES: Final = "postgres"
"""Directory of programs that were copied because the servers' user cannot reach the originals."""

SHARED: Final = (LOGS, COPIED_BINARIES)
"""What is in a place besides the directories of its servers."""

_NAME: Final = "servers"
_AWAY_PREFIX: Final = "shardrouter-"
_STOP_TIMEOUT_SECONDS: Final = 10.0


def prepare_data(data: Path) -> None:
    """Make the fleet's directory if it is missing, passable for the servers' user."""
    if not data.exists():
        data.mkdir(parents=True)
        data.chmod(0o711 if os.geteuid() == 0 else 0o700)


def choose_place(data: Path, user: OsUser) -> Path:
    """Return the directory the servers will live in; it does not exist yet.

    Raises FleetError when the user can reach none.
    """
    if user.can_enter(data):
        return data / _NAME
    for parent in _away_parents():
        if user.can_enter(parent):
            return parent / f"{_AWAY_PREFIX}{uuid.uuid4().hex[:12]}"
    raise FleetError(
        f"user {user.name}, who runs the servers, cannot reach {data}",
        hint="choose a --data directory whose parents have the x permission for others",
    )


def make_place(place: Path, user: OsUser) -> None:
    """Make the place: ours, but passable; only what is in it belongs to the servers' user."""
    place.mkdir(mode=0o711)
    place.chmod(0o711)  # whatever the umask
    user.make_directory(place / LOGS)


def check_maker(data: Path, place: Path) -> None:
    """Raise FleetError unless the place is there and we are the user who made it."""
    if not place.is_dir():
        raise FleetError(
            f"the data of the fleet in {data} are gone: there is no {place}",
            hint="start anew with `shardrouter down --destroy --yes` and `shardrouter up`",
        )
    maker = place.stat().st_uid
    if maker != os.geteuid():
        raise FleetError(
            f"the fleet in {data} was made by {OsUser.of_uid(maker).name}",
            hint="run the command as that user, or make a fleet of your own with --data",
        )


def remove_place(data: Path, place: Path) -> None:
    """Stop whatever works in the place and delete it; no effect when it is gone.

    Raises FleetError when it is not a place this fleet can have, or a process does not end.
    """
    if not os.path.lexists(place):
        return
    _check(data, place)
    for directory in [entry for entry in place.iterdir() if entry.is_dir()]:
        _end_work(directory)
    shutil.rmtree(place)


def remove_strangers(data: Path, place: Path, servers: Collection[str]) -> None:
    """Stop and delete whatever is in the place besides these servers and what they share.

    Raises FleetError as ``remove_place`` does.
    """
    _check(data, place)
    kept = {*servers, *SHARED}
    strangers = [e for e in place.iterdir() if e.is_dir() and e.name not in kept]
    for directory in strangers:
        _end_work(directory)
        shutil.rmtree(directory)


def _end_work(directory: Path) -> None:
    pid = postmaster_of(directory)
    if pid is not None:  # immediate: unlike SIGKILL it leaves no shared memory
        send([pid], StopMode.IMMEDIATE.value)
        wait_gone(directory, _STOP_TIMEOUT_SECONDS)
    if not kill_all(directory, _STOP_TIMEOUT_SECONDS):
        raise FleetError(
            f"processes that work in {directory} do not end",
            hint="they hang in the kernel: look at the disk, and at `dmesg`",
        )
    remove_segment(directory)


def _check(data: Path, place: Path) -> None:
    """The path comes from a file: never delete more than this module can have made."""
    is_away = place.name.startswith(_AWAY_PREFIX) and place.parent in _away_parents()
    found = place.lstat()
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    if not (place == data / _NAME or is_away) or not is_ours:
        raise FleetError(
            f"{place} is not a directory of a fleet of this user, so it is not removed",
            hint=f"run the command as the user who made the fleet in {data}",
        )


def _away_parents() -> tuple[Path, ...]:
    return Path("/var/tmp"), Path(tempfile.gettempdir()).resolve()
