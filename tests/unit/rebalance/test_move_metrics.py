"""Metrics of moves: what is counted between two looks, and what the page says of them."""

import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import pytest
from prometheus_client import REGISTRY

from shardrouter import metrics
from shardrouter.catalog import Move
from shardrouter.errors import SettingsError
from shardrouter.rebalance.running.move_metrics import MoveMetrics
from shardrouter.topology import MoveState
from tests.support.move_rows import some_move

PAGE: Final = Path(__file__).parents[3] / "docs/reference/metrics.md"
ROW: Final = re.compile(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
LABELS: Final = {"move": "7", "source": "s0", "target": "s1"}


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"shardrouter_{name}", labels)


@pytest.fixture
def seen() -> Iterator[MoveMetrics]:
    watch = MoveMetrics()
    yield watch
    watch.see_all([])


def move(state: MoveState = MoveState.COPYING, **changes: Any) -> Move:
    return replace(some_move(number=7), state=state, **changes)


def test_gauges_follow_a_move_and_go_with_it(seen: MoveMetrics) -> None:
    progress = {"rows_total": 10, "rows_copied": 4, "lag_bytes": 99, "eta_seconds": 1.5}
    seen.see(move(progress=progress, attention="mend it"))
    assert value("move_rows_copied", **LABELS) == 4
    assert value("move_eta_seconds", **LABELS) == 1.5
    assert value("move_bytes_total", **LABELS) == 0
    assert value("move_attention", **LABELS) == 1
    assert value("moves", state="copying") == 1
    seen.see(move(MoveState.DONE))
    assert value("move_rows_copied", **LABELS) is None
    assert value("moves", state="copying") is None


def test_moves_that_are_gone_are_forgotten(seen: MoveMetrics) -> None:
    seen.see_all([move(), replace(move(), number=8)])
    assert value("moves", state="copying") == 2
    seen.see_all([replace(move(), number=8)])
    assert value("move_rows_total", **LABELS) is None
    assert value("moves", state="copying") == 1


def test_a_move_that_was_over_when_seen_first(seen: MoveMetrics) -> None:
    seen.see(move(MoveState.DONE))
    assert value("moves", state="done") is None


def test_what_happened_is_counted_once(seen: MoveMetrics) -> None:
    def counts() -> tuple[float | None, ...]:
        return (
            value("move_pause_seconds_count"),
            value("move_retries_total", what="cutover") or 0,
            value("move_retries_total", what="copy") or 0,
            value("move_verifications_total", outcome="equal") or 0,
            value("move_verifications_total", outcome="different") or 0,
        )

    before = counts()
    for step in (
        move(MoveState.VERIFYING),
        move(MoveState.VERIFYING, attention="3 rows differ"),
        move(MoveState.VERIFYING, attention="3 rows differ"),
        move(MoveState.VERIFYING),
        move(MoveState.READY),
        move(MoveState.RETREATING),
        move(MoveState.RETREATING),
        move(MoveState.COPYING, attempt=2),
        move(MoveState.SOAKING, attempt=2, pause_seconds=0.04),
        move(MoveState.CLEANING, attempt=2, pause_seconds=0.04),
    ):
        seen.see(step)
    grown = [now - was for now, was in zip(counts(), before, strict=True)]  # type: ignore[operator]
    assert grown == [1, 1, 1, 1, 1]


def test_a_mover_is_watched_on_the_way_to_the_screen(seen: MoveMetrics) -> None:
    shown: list[int] = []
    show = seen.watching(lambda move, progress: shown.append(progress["rows_copied"]))
    show(move(), {"rows_copied": 6})
    assert shown == [6]
    assert value("move_rows_copied", **LABELS) == 6


def test_they_are_served_while_moves_run(seen: MoveMetrics) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with seen.served(port):
        seen.see(move(progress={"rows_total": 123}))
        with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert b"shardrouter_move_rows_total{" in answer.read()
        with pytest.raises(SettingsError, match="cannot be served"), seen.served(port):
            pass
    with pytest.raises(OSError), urlopen(f"http://127.0.0.1:{port}/metrics"):
        pass
    with seen.served(None):
        pass


def test_the_page_lists_them() -> None:
    section = PAGE.read_text().partition("\n## Moves\n")[2]
    rows = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in ROW.findall(section)
    }
    defined = [
        *metrics.MOVE_GAUGES.values(),
        *(metrics.MOVES, metrics.MOVE_ATTENTION, metrics.MOVE_PAUSE_SECONDS),
        *(metrics.MOVE_RETRIES, metrics.MOVE_VERIFICATIONS),
    ]
    described = [next(iter(metric.describe())) for metric in defined]
    suffix = {"counter": "_total"}
    names = {
        d.name.removeprefix("shardrouter_") + suffix.get(d.type, ""): d.type for d in described
    }
    assert {name: kind for name, (kind, _) in rows.items()} == names
    for metric, described_one in zip(defined, described, strict=True):
        name = described_one.name.removeprefix("shardrouter_") + suffix.get(described_one.type, "")
        assert set(metric._labelnames) <= rows[name][1], name
