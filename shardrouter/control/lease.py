"""The clock that leases are measured on."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

LeaseClock = Callable[[], float]

# Monotonic, and where the system has it also counting the time the machine was suspended: a
# laptop that wakes after an hour must find its lease over.
lease_clock: Final[LeaseClock] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)
