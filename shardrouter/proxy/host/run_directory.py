"""The directory by which proxy processes of one user find each other: lock and control socket."""

import os
import stat
import tempfile
from pathlib import Path

from shardrouter.config import ProxySettings, parse_address
from shardrouter.errors import SettingsError
from shardrouter.proxy.host.unix_socket import DEFAULT_PORT


def run_directory(proxy: ProxySettings) -> Path:
    """Return the directory, made if it is missing. Raises SettingsError when others may use it."""
    path = proxy.run_directory or _default(proxy)
    try:
        path.mkdir(mode=0o700, parents=proxy.run_directory is not None, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise SettingsError(
            f"proxy.run_directory {path}: {error.strerror}",
            hint="make it a directory of this user, with mode 0700",
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        # Whoever may write there can take the clients over; /tmp is open to everybody.
        raise SettingsError(
            f"proxy.run_directory {path} is not a directory of this user alone",
            hint="chmod 0700, or set proxy.run_directory to another one",
        )
    return path.absolute()


def is_of_this_process(directory: Path) -> bool:
    """True for the default where the system chooses the port: nobody else ever uses it."""
    return directory.name == _private_name()


def lock_path(directory: Path) -> Path:
    return directory / "proxy.lock"


def control_path(directory: Path) -> Path:
    return directory / "control.sock"


def _default(proxy: ProxySettings) -> Path:
    port = parse_address(proxy.listen, "proxy.listen").port if proxy.listen else DEFAULT_PORT
    # A port the system chooses is known too late to name the directory: no takeover then.
    name = f"shardrouter-{os.geteuid()}-{port}" if port else _private_name()
    return Path(tempfile.gettempdir()) / name


def _private_name() -> str:
    return f"shardrouter-{os.geteuid()}-pid{os.getpid()}"
