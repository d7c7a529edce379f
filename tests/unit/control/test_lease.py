"""The lease clock runs on, also over a suspended machine where the system can tell."""

import time

from shardrouter.control.lease import lease_clock


def test_it_is_monotonic_and_never_behind_the_monotonic_clock() -> None:
    readings = [lease_clock() for _ in range(1000)]
    assert readings == sorted(readings)
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert abs(lease_clock() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 1.0
