"""The freshness token: for each shard, the WAL position a reader must have seen.

Pure. A token is opaque to users (base64url text); client.causal keeps the current one in a context
variable. It carries no secret and no authority: a forged token can only make its bearer's reads
wait or go to the primary.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from shardrouter.errors import TokenInvalid
from shardrouter.topology import Position, ShardId, is_valid_name

VERSION: Final = 1
MAX_TEXT: Final = 64 * 1024  # characters; 1,000 shards need about 40 K
MAX_LSN: Final = 1 << 64
MAX_TIMELINE: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Token:
    """What a reader must have seen: a WAL position for some shards."""

    positions: Mapping[ShardId, Position] = field(default_factory=dict)
    epoch: int = 0
    """A reader that routes by an earlier topology may look on a shard that has lost the rows.
    0 in a fleet in which no slot ever moved."""

    def need(self, shard: ShardId) -> Position | None:
        """Return the position a read of the shard must have seen, or None."""
        return self.positions.get(shard)

    def with_commit(self, shard: ShardId, position: Position, epoch: int = 0) -> Self:
        """Return this token after a commit on the shard, routed by the topology of that epoch."""
        known = self.positions.get(shard)
        latest = position if known is None else known.latest(position)
        return type(self)({**self.positions, shard: latest}, max(self.epoch, epoch))

    def merged(self, other: Self) -> Self:
        """Return the token that demands what both demand."""
        result = type(self)(self.positions, max(self.epoch, other.epoch))
        for shard, position in other.positions.items():
            result = result.with_commit(shard, position)
        return result

    def to_text(self) -> str:
        """Return the opaque form: at most a few dozen characters a shard."""
        positions = {s: [p.timeline, p.lsn] for s, p in sorted(self.positions.items())}
        data = [VERSION, positions, *([self.epoch] if self.epoch else [])]
        raw = json.dumps(data, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read the opaque form. Raises TokenInvalid for anything that is not a token."""
        if len(text) > MAX_TEXT:
            raise TokenInvalid(
                f"a freshness token of {len(text)} characters is longer than {MAX_TEXT}",
                hint="pass on what router.token() returned",
            )
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            version, positions, *rest = json.loads(raw)
            if version != VERSION:
                raise ValueError(f"version {version!r}")
            read = {_shard(name): _position(value) for name, value in positions.items()}
            return cls(read, _epoch(*rest))
        except (ValueError, TypeError, AttributeError, binascii.Error, RecursionError) as error:
            raise TokenInvalid(
                f"not a freshness token: {error}", hint="pass on what router.token() returned"
            ) from None


def _shard(name: str) -> ShardId:
    if not is_valid_name(name):
        raise ValueError("not a shard name")
    return ShardId(name)


def _position(value: Any) -> Position:
    timeline, lsn = value
    if type(timeline) is not int or type(lsn) is not int:
        raise TypeError("a position is two integers")
    if not (0 <= timeline < MAX_TIMELINE and 0 <= lsn < MAX_LSN):
        raise ValueError("a position out of range")
    return Position(timeline, lsn)


def _epoch(value: Any = 0) -> int:
    if type(value) is not int or not 0 <= value < MAX_LSN:
        raise ValueError("not an epoch")
    return value
