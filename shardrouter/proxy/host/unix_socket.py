"""The Unix socket clients connect to, as Postgres names it: ``.s.PGSQL.PORT``.

A lock beside it says that its owner lives; a file without owner is what a crash left, and goes.
"""

import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shardrouter.errors import SettingsError
from shardrouter.proxy.host.file_lock import lock_file, unlock_file

DEFAULT_PORT: Final = 6432  # in the name of the socket where there is no TCP
MODE: Final = 0o777  # as Postgres: proxy_auth.rules decide who gets in
CONNECT_SECONDS: Final = 1.0  # to find out whether somebody answers there


@dataclass(slots=True)
class UnixListener:
    """The listening socket and the lock on its path."""

    path: Path
    sock: socket.socket
    lock: int
    """Descriptor of the locked file beside the socket."""

    def close(self, *, is_handed_over: bool) -> None:
        """Stop listening; a successor's socket stays in the directory."""
        if is_handed_over:
            os.close(self.lock)
        else:
            with suppress(OSError):
                self.path.unlink()
            unlock_file(self.lock, lock_path(self.path))
        self.sock.close()


def unix_socket_path(directory: Path, port: int | None) -> Path:
    """Return the path of the socket beside that TCP port."""
    return directory.absolute() / f".s.PGSQL.{port or DEFAULT_PORT}"


def lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def open_unix_listener(path: Path, backlog: int) -> UnixListener:
    """Listen at the path. Raises SettingsError when somebody else does, or may not be disturbed."""
    try:
        lock = lock_file(lock_path(path))
    except OSError as error:
        raise _cannot_listen(path, error.strerror or str(error)) from error
    if lock is None:
        raise _is_taken(path)
    try:
        _remove_stale(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.bind(str(path))
        path.chmod(MODE)
        sock.listen(backlog)
    except OSError as error:
        unlock_file(lock, lock_path(path))
        raise _cannot_listen(path, error.strerror or str(error)) from error
    except SettingsError:
        os.close(lock)
        raise
    return UnixListener(path, sock, lock)


def _remove_stale(path: Path) -> None:
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise _cannot_listen(path, "there is a file of that name that is no socket")
    if answers(path):  # Postgres, or a proxy of another kind: neither knows our lock
        raise _is_taken(path)
    path.unlink()


def answers(path: Path) -> bool:
    """True when somebody listens at a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_SECONDS)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # it does not answer in time, or not us: not ours to remove
    return True


def _is_taken(path: Path) -> SettingsError:
    return SettingsError(
        f"another process listens at {path}",
        hint="stop it, or choose another proxy.unix_socket_directory or port; a running proxy is"
        " taken over only by one with the same proxy.run_directory",
    )


def _cannot_listen(path: Path, reason: str) -> SettingsError:
    return SettingsError(
        f"cannot listen at {path}: {reason}",
        hint="make proxy.unix_socket_directory a directory this user may write to",
    )
