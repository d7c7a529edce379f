"""How fast this fleet copied and how long writers waited, from the moves the catalog remembers."""

from collections.abc import Mapping, Sequence
from typing import Final

from shardrouter.catalog import JournalEvent, Move
from shardrouter.rebalance.planning.price import (
    ASSUMED_COPY_BYTES_PER_SECOND,
    ASSUMED_PAUSE_SECONDS,
    Rates,
    expect,
)
from shardrouter.topology import ShardId

MEASURED_MOVES: Final = 20
"""So many of the last moves count."""

SMALLEST_BYTES: Final = 1 << 20
"""A smaller copy is mostly the time to begin and to end it."""

_BEGAN, _ENDED = "move_copying", "move_catching_up"


def rates_of(
    moves: Sequence[Move],
    events: Sequence[JournalEvent],
    wal_bytes_per_second: Mapping[ShardId, float],
) -> Rates:
    """Return what to expect of the next moves. Pure.

    moves: the newest first. events: of the journal, newest first.
    """
    return Rates(
        copy_bytes_per_second=expect(copy_rates(moves, events), ASSUMED_COPY_BYTES_PER_SECOND),
        pause_seconds=expect(
            [m.pause_seconds for m in moves if m.pause_seconds is not None][:MEASURED_MOVES],
            ASSUMED_PAUSE_SECONDS,
        ),
        wal_bytes_per_second=wal_bytes_per_second,
    )


def copy_rates(moves: Sequence[Move], events: Sequence[JournalEvent]) -> list[float]:
    """Return bytes a second of copies that came to their end, the newest first."""
    sizes = {move.number: int(move.progress.get("bytes_total") or 0) for move in moves}
    ended: dict[int, JournalEvent] = {}
    rates: list[float] = []
    for event in events:
        number = event.detail.get("move")
        if event.kind == _ENDED and number in sizes:
            ended[number] = event
        elif event.kind == _BEGAN and number in ended:
            seconds = (ended.pop(number).at - event.at).total_seconds()
            if seconds > 0 and sizes[number] >= SMALLEST_BYTES:
                rates.append(sizes[number] / seconds)
    return rates[:MEASURED_MOVES]
