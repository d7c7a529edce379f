"""Metrics of moves, from what a mover shows or what the catalog holds of them."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from prometheus_client import start_http_server

from shardrouter import metrics
from shardrouter.catalog import Move
from shardrouter.errors import SettingsError
from shardrouter.rebalance.running.run_moves import OnProgress
from shardrouter.topology import MoveState


class MoveMetrics:
    """Turns what is seen of moves into metrics. Counters count what this process saw happen."""

    def __init__(self) -> None:
        self._seen: dict[int, Move] = {}

    @contextmanager
    def served(self, port: int | None) -> Iterator[None]:
        """Serve this process's metrics at ``/metrics`` of the port for the block; None: nowhere.

        On every address of the machine. Raises SettingsError when the port is taken.
        """
        if port is None:
            yield
            return
        try:
            server, thread = start_http_server(port)
        except OSError as error:
            raise SettingsError(
                f"metrics cannot be served at port {port}: {error.strerror}",
                hint="choose another --metrics-port",
            ) from error
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def watching(self, show: OnProgress) -> OnProgress:
        """Return a progress callback that counts, then shows."""

        def see(move: Move, progress: Mapping[str, Any]) -> None:
            self.see(replace(move, progress=dict(progress)))
            show(move, progress)

        return see

    def see_all(self, moves: Iterable[Move]) -> None:
        """Take in all unfinished moves; those that are gone from them are over."""
        now = {move.number: move for move in moves}
        for move in now.values():
            self.see(move)
        for number in [number for number in self._seen if number not in now]:
            self._forget(self._seen.pop(number))
        self._count_states()

    def see(self, move: Move) -> None:
        """Take in how a move stands."""
        before = self._seen.get(move.number)
        if before is not None:
            _count(before, move)
        self._seen[move.number] = move
        if move.is_over:
            self._forget(self._seen.pop(move.number))
        else:
            _gauge(move)
        self._count_states()

    def _count_states(self) -> None:
        metrics.MOVES.clear()
        for move in self._seen.values():
            metrics.MOVES.labels(move.state.value).inc()

    def _forget(self, move: Move) -> None:
        for gauge in (*metrics.MOVE_GAUGES.values(), metrics.MOVE_ATTENTION):
            with suppress(KeyError):  # it may have been over when it was seen first
                gauge.remove(str(move.number), move.source, move.target)


def _gauge(move: Move) -> None:
    labels = (str(move.number), move.source, move.target)
    for name, gauge in metrics.MOVE_GAUGES.items():
        gauge.labels(*labels).set(float(move.progress.get(name) or 0))
    metrics.MOVE_ATTENTION.labels(*labels).set(move.attention is not None)


def _count(before: Move, now: Move) -> None:
    """Count what happened between two looks at a move."""
    if now.pause_seconds is not None and now.pause_seconds != before.pause_seconds:
        metrics.MOVE_PAUSE_SECONDS.observe(now.pause_seconds)
    if now.state is MoveState.RETREATING and before.state is not MoveState.RETREATING:
        metrics.MOVE_RETRIES.labels("cutover").inc()
    if now.attempt > before.attempt:
        metrics.MOVE_RETRIES.labels("copy").inc(now.attempt - before.attempt)
    if before.state is MoveState.VERIFYING:
        _count_verification(before, now)


def _count_verification(before: Move, now: Move) -> None:
    if now.state is MoveState.READY:
        metrics.MOVE_VERIFICATIONS.labels("equal").inc()
    elif now.attention is not None and before.attention is None:
        metrics.MOVE_VERIFICATIONS.labels("different").inc()
