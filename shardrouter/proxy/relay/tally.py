# cython: annotation_typing=False, boundscheck=False, wraparound=False
"""Count what a node's backends did: one tally for each node, read when somebody asks."""


class Tally:
    """Counters of one node in one role. The buckets are those of ``metrics_snapshot``."""

    def __init__(self, buckets: int) -> None:
        self.queries = 0
        self.errors = 0
        self.lost = 0
        self.refused = 0
        self.transactions = 0
        self.rolled_back = 0
        self.lost_transactions = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.seconds = 0.0
        self.buckets = [0] * buckets
        self.wait_seconds = 0.0
        self.wait_buckets = [0] * buckets
        self.last = buckets - 1

    def waited(self, seconds: float) -> None:
        """Count a client that had to wait for its backend."""
        self.wait_seconds += seconds
        self.wait_buckets[min(int(seconds * 1000000.0).bit_length(), self.last)] += 1

    def observe(self, seconds: float, is_end: bool) -> None:
        """Count one exchange that took so long; ``is_end`` when no transaction is open now."""
        self.seconds += seconds
        at = int(seconds * 1000000.0).bit_length()
        if at > self.last:
            at = self.last
        self.buckets[at] += 1
        if is_end:
            self.transactions += 1
