"""An in-memory stand-in for the catalog's worker numbers, with a clock that a test moves."""

from uuid import UUID

from shardrouter.catalog import WorkerLease
from shardrouter.errors import IdError


class MemoryWindows:
    """The rules of catalog.IdWorkers."""

    def __init__(self, lease_ms: int = 30_000, horizon_ms: int = 600_000, numbers: int = 512):
        self.now_ms = 40_000_000_000
        self.lease_ms = lease_ms
        self.horizon_ms = horizon_ms
        self.ends = dict.fromkeys(range(numbers), 0)
        self.owners: dict[int, UUID] = {}
        self.calls = 0

    def acquire(self, owner: UUID, origin: str, past_ms: int) -> WorkerLease:
        self.calls += 1
        free = [(end, n) for n, end in self.ends.items() if end <= self.now_ms]
        if not free:
            raise IdError("all worker numbers are in use")
        number = min(free)[1]
        self.owners[number] = owner
        self.ends[number] = self._end(past_ms)
        return WorkerLease(number, owner, self.now_ms, self.ends[number], self.now_ms)

    def extend(self, lease: WorkerLease, past_ms: int) -> WorkerLease | None:
        self.calls += 1
        if self.owners.get(lease.number) != lease.owner:
            return None
        self.ends[lease.number] = max(self.ends[lease.number], self._end(past_ms))
        return WorkerLease(
            lease.number, lease.owner, lease.start_ms, self.ends[lease.number], self.now_ms
        )

    def release(self, lease: WorkerLease, used_end_ms: int) -> None:
        if self.owners.get(lease.number) == lease.owner:
            del self.owners[lease.number]
            end = min(self.ends[lease.number], max(used_end_ms, lease.start_ms))
            self.ends[lease.number] = end

    def _end(self, past_ms: int) -> int:
        return min(max(self.now_ms, past_ms) + self.lease_ms, self.now_ms + self.horizon_ms)
