"""Which pg_dump is taken for two servers."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from shardrouter.local.dump_programs import DumpPrograms, choose


def programs(*majors: int) -> list[DumpPrograms]:
    return [DumpPrograms(Path(f"/{major}"), major) for major in majors]


@pytest.mark.parametrize(
    ("installed", "source", "target", "expected"),
    [
        ((18, 15), 15, 15, 15),
        ((18, 15), 15, 18, 18),
        ((18, 17, 16), 15, 15, 16),
        ((18, 15), 16, 15, 18),
        ((15, 16), 17, 17, None),
        ((), 15, 15, None),
    ],
)
def test_choice(installed: Sequence[int], source: int, target: int, expected: int | None) -> None:
    found = choose(programs(*installed), source, target)
    assert (None if found is None else found.major) == expected
