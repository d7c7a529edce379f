# cython: annotation_typing=False, boundscheck=False, wraparound=False
"""What all clients of a worker compare with on their way to a backend."""

from typing import Any


class Standing:
    """What a choice of a pool stands on: while it holds, the choice needs not be made anew."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock  # the one leases are measured on
        self.version = 1
        self.deadline = -1e300
