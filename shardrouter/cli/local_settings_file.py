"""The ``shardrouter.toml`` that ``shardrouter up`` writes, and only touches when it is its own."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_HEADER: Final = "# Written by `shardrouter up` for the local fleet in "
_DSN: Final = re.compile(r"^dsn = .*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class LocalSettingsFile:
    """The settings file of a local fleet: its path, the fleet's directory, the catalog's DSN."""

    path: Path
    data: Path
    dsn: str

    @classmethod
    def of(cls, path: Path, data: Path, dsn: str) -> Self:
        return cls(path.absolute(), data.resolve(), dsn)

    def write(self) -> bool:
        """Write the file, or give our own the present DSN; what was added to it stays.

        Returns False, and leaves the file alone, when somebody else wrote it.
        """
        old = self._read()
        if old is None:
            text = self._text()
        elif old.startswith(f"{_HEADER}{self.data}\n"):
            text = _DSN.sub(self._dsn_line(), old, count=1)
        else:
            return False
        if text != old:
            half = self.path.with_suffix(".part")
            half.write_text(text)
            half.replace(self.path)
        return True

    @classmethod
    def remove(cls, path: Path, data: Path) -> None:
        """Delete the file if it is as ``write`` makes it for that fleet, whatever the DSN."""
        ours = cls.of(path, data, "")
        old = ours._read()
        if old is not None and _DSN.sub(ours._dsn_line(), old) == ours._text():
            ours.path.unlink()

    def _read(self) -> str | None:
        return self.path.read_text() if self.path.exists() else None

    def _dsn_line(self) -> str:
        return f'dsn = "{self.dsn}"'

    def _text(self) -> str:
        return f"{_HEADER}{self.data}\n[catalog]\n{self._dsn_line()}\n"
