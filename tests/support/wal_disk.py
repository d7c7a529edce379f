"""A small disk of its own for a server's WAL, which can be filled up and enlarged."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from shardrouter.local import LocalServer

MEGABYTE: Final = 1 << 20
_FILLER: Final = "filler"


def may_mount() -> bool:
    """True when this process may mount a tmpfs."""
    return os.geteuid() == 0 and shutil.which("mount") is not None


class WalDisk:
    """A tmpfs that holds ``pg_wal`` of one server. Needs ``may_mount``."""

    def __init__(self, server: LocalServer, folder: Path, size_mb: int) -> None:
        self.server = server
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder))

    def take_wal(self) -> None:
        """Move the server's WAL here; the server is restarted."""
        self.server.stop()
        wal = self.server.data / "pg_wal"
        moved = self.folder / "pg_wal"
        owner = wal.stat()
        shutil.copytree(wal, moved)
        for path in (self.folder, moved, *moved.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        moved.chmod(0o700)
        for parent in self.folder.parents:
            if parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)  # the server runs as another user
        shutil.rmtree(wal)
        wal.symlink_to(moved)
        self.server.start()

    @property
    def free_mb(self) -> float:
        return shutil.disk_usage(self.folder).free / MEGABYTE

    def fill(self, leave_mb: float = 0.0) -> None:
        """Take all room but so much."""
        room = shutil.disk_usage(self.folder).free - int(leave_mb * MEGABYTE)
        with (self.folder / _FILLER).open("ab") as filler:
            while room > 0:
                room -= filler.write(b"\0" * min(room, MEGABYTE))

    def clear(self) -> None:
        """Give the room back that ``fill`` took."""
        (self.folder / _FILLER).unlink(missing_ok=True)

    def enlarge(self, size_mb: int) -> None:
        """What an operator does with a full disk."""
        _run("mount", "-o", f"remount,size={size_mb}m", str(self.folder))

    def remove(self) -> None:
        """Unmount it. The server is gone by then."""
        _run("umount", "--lazy", str(self.folder))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
