"""Load the fixtures; say in the header what is tested on what."""

from shardrouter.build import describe
from shardrouter.local import describe_binaries

pytest_plugins = [
    "tests.plugins.fix_catalog",
    "tests.plugins.fix_faults",
    "tests.plugins.fix_fleet",
    "tests.plugins.fix_gather",
    "tests.plugins.fix_hand_over",
    "tests.plugins.fix_matrix",
    "tests.plugins.fix_proxy",
    "tests.plugins.fix_raw",
    "tests.plugins.fix_rebalance",
    "tests.plugins.fix_scope",
    "tests.plugins.fix_speed",
]


def pytest_report_header() -> list[str]:
    return [f"shardrouter: {describe()}", f"postgres: {describe_binaries()}"]
