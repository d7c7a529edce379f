"""Become the proxy of a run directory: alone by its lock, or as successor of the one that runs."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shardrouter.errors import SettingsError
from shardrouter.proxy.host.file_lock import lock_file, unlock_file
from shardrouter.proxy.host.run_directory import control_path, is_of_this_process, lock_path
from shardrouter.proxy.parent.takeover import Inheritance, ask_for_inheritance

CLAIM_SECONDS: Final = 5.0  # the owner may be starting, or just ending
PAUSE_SECONDS: Final = 0.05


@dataclass(slots=True)
class Claim:
    """The right to be the proxy of a directory, and what came with it."""

    directory: Path
    lock: int
    inheritance: Inheritance | None
    """None: no proxy ran here."""

    is_after_crash: bool = False
    """The last owner did not say goodbye: its workers may hold the port for a moment yet."""

    def release(self, *, is_handed_over: bool) -> None:
        """Give up the directory; a successor has the lock too."""
        if is_handed_over:
            os.close(self.lock)
            return
        unlock_file(self.lock, lock_path(self.directory))
        if is_of_this_process(self.directory):
            with suppress(OSError):
                self.directory.rmdir()


def claim_directory(directory: Path) -> Claim:
    """Return the claim. Blocks for a few seconds at most. Raises SettingsError."""
    control = control_path(directory)
    deadline = time.monotonic() + CLAIM_SECONDS
    while True:
        lock = _lock(directory)
        if lock is not None:
            return Claim(directory, lock, None, is_after_crash=control.exists())
        inheritance = ask_for_inheritance(control)
        if inheritance is not None:
            return Claim(directory, inheritance.run_lock, inheritance)
        if time.monotonic() > deadline:
            raise SettingsError(
                f"another proxy owns {directory}, and does not answer",
                hint="it is starting, or hangs; stop it, or set another proxy.run_directory",
            )
        time.sleep(PAUSE_SECONDS)


def _lock(directory: Path) -> int | None:
    try:
        return lock_file(lock_path(directory))
    except OSError as error:
        raise SettingsError(
            f"proxy.run_directory {directory}: {error.strerror}",
            hint="make it a directory of this user, with mode 0700",
        ) from error
