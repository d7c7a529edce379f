"""Compare the rows of a move on both sides on an operator's word, while its stream runs.

Reads only, and needs no claim on the move. A row that differs is looked at again until the stream
has had its time: only one that stood still on its owner and stays different counts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from shardrouter.catalog import Move
from shardrouter.config import Settings
from shardrouter.errors import MoveMismatch, MoveRefused
from shardrouter.postgres import sharded_tables
from shardrouter.postgres.moving import (
    Key,
    digest_chunk,
    digest_range,
    hashes_of,
    row_hashes,
    show_rows,
)
from shardrouter.rebalance.checking.compare import judge
from shardrouter.rebalance.ending.soak import LOST
from shardrouter.rebalance.sessions import Sessions, patient
from shardrouter.topology import MoveState, ShardId, Table, Topology

ROUNDS: Final = 10
ROUND_SECONDS: Final = 0.5  # for what was written to arrive
SHOWN: Final = 10
BATCH: Final = 500  # keys in one statement

_STATES: Final = frozenset({MoveState.READY, MoveState.SOAKING})
_NAME: Final = "shardrouter-verify"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was compared, and found equal."""

    rows: Mapping[str, int]
    """By table."""


def verify_again(
    move: Move, topology: Topology, settings: Settings, *, sleep: Callable[[float], None]
) -> Verification:
    """Compare every row. Raises MoveMismatch showing rows, MoveRefused, BackendUnreachable."""
    _check(move)
    sessions = Sessions(_NAME, settings.pool.connect_timeout_seconds)
    owner = topology.owners[move.slots[0]]
    other = move.target if owner == move.source else move.source
    try:
        sides = []
        for shard in (owner, other):
            session = sessions.open(topology.shard(shard))
            sessions.keep(session)
            sides.append(session.connection)
        comparison = _Comparison(move, topology, sides, (owner, other), sleep)
        limit = settings.rebalance.verify_rows
        return Verification(
            {t.full_name: comparison.table(t, limit) for t in sharded_tables(topology)}
        )
    finally:
        sessions.close_all()


def _check(move: Move) -> None:
    if move.state not in _STATES:
        raise MoveRefused(
            f"move {move.number} is {move.state}: both sides are kept the same only while it is"
            f" {' or '.join(sorted(_STATES))}",
            hint=f"it compares all rows before its cutover: `shardrouter move show {move.number}`",
        )
    if LOST in move.facts or (move.state is MoveState.SOAKING and not move.soak_seconds):
        raise MoveRefused(
            f"the old copy of move {move.number} is not kept the same any more:"
            f" {move.facts.get(LOST, 'it does not soak')}",
            hint=f"`shardrouter move finish {move.number}` deletes it",
        )


class _Comparison:
    """The rows of one move on the shard that owns them and on the one that follows."""

    def __init__(
        self,
        move: Move,
        topology: Topology,
        sides: Sequence[Connection],
        names: tuple[ShardId, ShardId],
        sleep: Callable[[float], None],
    ) -> None:
        self._move = move
        self._topology = topology
        self._owner, self._other = sides
        self._names = names
        self._sleep = sleep

    def table(self, table: Table, limit: int) -> int:
        """Compare a table, chunk by chunk; return its rows."""
        rows, after = 0, None
        slots, count = self._move.slots, self._topology.slots
        while True:
            with patient(self._owner), self._owner.begin():
                chunk = digest_chunk(self._owner, table, slots, count, after, limit)
            with patient(self._other), self._other.begin():
                there = digest_range(self._other, table, slots, count, after, chunk.last_pk)
            if not chunk.matches(there):
                self._look_closer(table, after, chunk.last_pk)
            rows, after = rows + chunk.rows, chunk.last_pk
            if after is None:
                return rows

    def _look_closer(self, table: Table, after: Key | None, upto: Key | None) -> None:
        """Look at rows again and again. Raises MoveMismatch for those that stay different."""
        ours, theirs = (
            self._hashes(side, table, after, upto) for side in (self._owner, self._other)
        )
        suspects: Sequence[Key] = sorted(
            key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)
        )
        wrong: frozenset[Key] = frozenset()
        for _ in range(ROUNDS):
            if not suspects:
                return
            before = self._hashes_of(self._owner, table, suspects)
            self._sleep(ROUND_SECONDS)
            there = self._hashes_of(self._other, table, suspects)
            verdict = judge(before, there, self._hashes_of(self._owner, table, suspects), suspects)
            wrong, suspects = verdict.wrong, sorted(verdict.wrong | verdict.flux)
        if wrong:
            raise self._mismatch(table, sorted(wrong))

    def _hashes(
        self, side: Connection, table: Table, after: Key | None, upto: Key | None
    ) -> dict[Key, int]:
        with patient(side), side.begin():
            return row_hashes(side, table, self._move.slots, self._topology.slots, after, upto)

    def _hashes_of(self, side: Connection, table: Table, keys: Sequence[Key]) -> dict[Key, int]:
        found: dict[Key, int] = {}
        with side.begin():
            for first in range(0, len(keys), BATCH):
                batch = keys[first : first + BATCH]
                slots, count = self._move.slots, self._topology.slots
                found |= hashes_of(side, table, slots, count, batch)
        return found

    def _mismatch(self, table: Table, keys: Sequence[Key]) -> MoveMismatch:
        shown = list(keys[:SHOWN])
        sides: list[dict[Key, str]] = []
        for side in (self._owner, self._other):
            with side.begin():
                slots, count = self._move.slots, self._topology.slots
                sides.append(show_rows(side, table, slots, count, shown))
        rows = "; ".join(
            f"({', '.join(key)}): {sides[0].get(key, 'no row')} on {self._names[0]},"
            f" {sides[1].get(key, 'no row')} on {self._names[1]}"
            for key in shown
        )
        number = self._move.number
        return MoveMismatch(
            f"{len(keys)} rows of {table.full_name} differ: {rows}",
            shard=self._names[1],
            epoch=self._topology.epoch,
            hint=f"{self._names[0]} owns them. If `shardrouter move show {number}` tells of a large"
            " lag, compare again later; else find out who wrote to the other side, and do not"
            " reverse the move",
        )
