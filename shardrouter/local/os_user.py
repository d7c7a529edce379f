"""Decide which operating-system user runs the servers, and run programs as that user.

Postgres refuses to run as root, so root lends its programs to an unprivileged user.
"""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from shardrouter.errors import FleetError

_WAIT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class OsUser:
    """The user that owns the data directories and runs the servers."""

    name: str
    uid: int
    gid: int

    @classmethod
    def choose(cls) -> Self:
        """Return the user for a new fleet: ourselves, or for root an unprivileged one.

        ``SHARDROUTER_OS_USER`` names the one root should use.
        Raises FleetError when the user id has no account.
        """
        if os.geteuid() != 0:
            return cls.of_uid(os.geteuid())
        asked = os.environ.get("SHARDROUTER_OS_USER")
        for name in (asked,) if asked else ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            if entry.pw_uid != 0:
                return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)
        raise FleetError(
            f"Postgres does not run as root, and {asked or 'postgres or nobody'} is no user for it",
            hint="set SHARDROUTER_OS_USER to an unprivileged account of this machine",
        )

    @classmethod
    def of_uid(cls, uid: int) -> Self:
        """Return the account of a user id. Raises FleetError when there is none."""
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            raise FleetError(
                f"user id {uid} has no account, and initdb needs one",
                hint="run as a user that `getent passwd` knows",
            ) from None
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)

    def run(
        self, command: Sequence[str | Path], timeout_seconds: float, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this user from ``/`` with ``text`` as its input.

        Output on both streams is returned together.
        Nothing of the caller's ``PG*`` environment reaches it.
        Raises OSError when it cannot be executed, FleetError when it takes too long.
        """
        try:
            return subprocess.run(
                [str(part) for part in command],
                cwd="/",
                env=_clean_environment(),
                input=text,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout_seconds,
                check=False,
                **self._drop(),
            )
        except subprocess.TimeoutExpired:
            raise FleetError(
                f"{Path(command[0]).name} did not finish in {timeout_seconds:g} s",
                hint="the machine or its disk is overloaded: try again",
            ) from None

    def can_enter(self, directory: Path) -> bool:
        """True when this user reaches the directory."""
        probe = ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(directory)]
        return self.run(probe, _WAIT_SECONDS).returncode == 0

    def make_directory(self, directory: Path) -> None:
        """Make a directory that is this user's alone."""
        directory.mkdir(mode=0o700)
        if os.geteuid() != self.uid:
            os.chown(directory, self.uid, self.gid)

    def write(self, file: Path, text: str) -> None:
        """Write a file below a directory of this user, with this user's rights.

        Root must not write there itself: the user could have put a symbolic link in the way.
        """
        done = self.run(["/bin/sh", "-c", 'cat > "$1"', "sh", file], _WAIT_SECONDS, text)
        if done.returncode != 0:
            raise FleetError(
                f"{file} cannot be written: {done.stdout.strip()}",
                hint=f"is there room on the disk of {file.parent}? (`df -h`)",
            )

    def _drop(self) -> dict[str, Any]:
        if os.geteuid() == self.uid:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": [], "umask": 0o077}


def _clean_environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_"))}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}
