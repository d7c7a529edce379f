"""Remove fleets: half-made ones that a killed command left, and finished ones on request."""

import os
from contextlib import suppress
from pathlib import Path

from shardrouter.errors import FleetError
from shardrouter.local.place import remove_place, remove_strangers
from shardrouter.local.state import (
    HALF_WRITTEN,
    LOCK_FILE,
    MARKER_FILE,
    STATE_FILE,
    FleetState,
    read_marker,
    write_marker,
)


def remove_leftovers(data: Path) -> bool:
    """Remove what a killed command left: processes, data, the directory if nothing else is in it.

    Of a finished fleet only a shard that was being added is removed. Returns whether the fleet as
    a whole was half made; then the lock, which must be held, is gone afterwards.
    Raises FleetError when a process does not end.
    """
    place = read_marker(data)
    state = FleetState.read(data)
    if state is not None:
        if place is not None:
            remove_strangers(data, state.place, [server.id for server in state.servers])
            (data / MARKER_FILE).unlink()
        return False
    if place is None:
        return False
    remove_place(data, place)
    (data / MARKER_FILE).unlink()
    for name in (*HALF_WRITTEN, LOCK_FILE):  # whoever waits for the lock makes it anew
        (data / name).unlink(missing_ok=True)
    with suppress(OSError):  # something else is in it
        data.rmdir()
    return True


def remove_fleet(data: Path) -> bool:
    """Remove a fleet whatever its state, as ``remove_leftovers`` does.

    Crash: the marker stays until all is gone, so the next command finds a half-made fleet.
    """
    state = FleetState.read(data)
    if state is not None:
        write_marker(data, state.place)
        (data / STATE_FILE).unlink()
    return remove_leftovers(data)


def check_only_ours(data: Path) -> None:
    """Raise FleetError when the directory holds anything but a fleet, finished or not."""
    if FleetState.read(data) is None and read_marker(data) is None:
        _refuse_strangers(data)


def check_vacant(data: Path) -> None:
    """Raise FleetError unless a fleet can be made in the directory."""
    if FleetState.read(data) is not None:
        raise FleetError(
            f"{data} holds a local fleet already",
            hint="start it with `shardrouter up`, or remove it with "
            "`shardrouter down --destroy --yes`",
        )
    _refuse_strangers(data)


def _refuse_strangers(data: Path) -> None:
    strangers = sorted(set(os.listdir(data)) - {LOCK_FILE, *HALF_WRITTEN})
    if strangers:
        raise FleetError(
            f"{data} is not empty: it holds {', '.join(strangers[:3])}",
            hint="name an empty or a new directory with --data",
        )
