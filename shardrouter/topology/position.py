"""A place in the write-ahead log of a shard: timeline and LSN."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Position:
    """A WAL position on a timeline. ``lsn`` counts bytes."""

    timeline: int
    lsn: int

    def is_reached_by(self, other: Self) -> bool:
        """True when a server that replayed up to ``other`` has everything up to here.

        A server on a later timeline shares our history up to the switch; what lies between the
        switch and us was lost by the failover and nobody has it. A server on an earlier timeline
        may have diverged, so its LSN says nothing.
        """
        return other.timeline >= self.timeline and other.lsn >= self.lsn

    def latest(self, other: Self) -> Self:
        """Return the later of the two; a later timeline wins over any LSN."""
        return other if (other.timeline, other.lsn) > (self.timeline, self.lsn) else self

    def __str__(self) -> str:
        return f"{self.timeline}:{format_lsn(self.lsn)}"


def parse_lsn(text: str) -> int:
    """Return the byte count of Postgres' ``16/B374D848`` notation. Raises ValueError."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def format_lsn(lsn: int) -> str:
    """Return Postgres' notation of a byte count."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
