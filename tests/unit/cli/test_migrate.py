"""The exit code of a migration over shards."""

import pytest

from shardrouter.cli.migrate import exit_code
from shardrouter.control import MigrationState, ShardReport
from shardrouter.topology import ShardId

OK, BEHIND, BUSY, FAILED = (MigrationState(s) for s in ("ok", "behind", "busy", "failed"))


@pytest.mark.parametrize(
    ("states", "is_dry_run", "expected"),
    [
        ([OK, OK], False, 0),
        ([OK, BEHIND], False, 1),
        ([OK, BEHIND], True, 0),
        ([OK, BUSY], False, 3),
        ([BUSY, FAILED], False, 1),
        ([BUSY, BEHIND], False, 1),
        ([FAILED], True, 1),
    ],
)
def test_exit_code(states: list[MigrationState], is_dry_run: bool, expected: int) -> None:
    reports = [ShardReport(ShardId(f"s{n}"), state) for n, state in enumerate(states)]
    assert exit_code(reports, may_be_behind=is_dry_run) == expected
