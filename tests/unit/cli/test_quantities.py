"""Numbers in words."""

import pytest

from shardrouter.cli.quantities import bytes_words, part_words, seconds_words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_250_000_000, "1.2 GB"),
        (5e18, "5000.0 PB"),
        (-2000, "-2.0 kB"),
        (None, ""),
    ],
)
def test_bytes(size: float | None, words: str) -> None:
    assert bytes_words(size) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0352, "35 ms"),
        (4.21, "4.2 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (None, ""),
    ],
)
def test_seconds(seconds: float | None, words: str) -> None:
    assert seconds_words(seconds) == words


def test_parts() -> None:
    assert (part_words(0.421), part_words(None)) == ("42 %", "")
