"""A lock on a file that ends with the process, however it ends, and can be handed on.

The lock belongs to the open file: a process that receives the descriptor owns it too.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path


def lock_file(path: Path) -> int | None:
    """Return the descriptor that holds the lock, or None while somebody else does."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_current = os.path.samestat(os.fstat(descriptor), path.stat())
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            is_current = False
        if is_current:
            sign_lock(descriptor)
            return descriptor
        os.close(descriptor)  # Race: its owner removed the file after we opened it


def sign_lock(descriptor: int) -> None:
    """Write this process's id into a lock it owns: Postgres reads it in those of its sockets."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def unlock_file(descriptor: int, path: Path) -> None:
    """Remove the file and give up the lock."""
    with suppress(OSError):
        path.unlink()
    os.close(descriptor)
