"""Whatever clocks do and processes suffer, no id is made twice and each process's ids grow."""

from hypothesis import given, settings
from hypothesis import strategies as st

from shardrouter.client.ids import IdSource
from shardrouter.config.ids import IdSettings
from shardrouter.errors import IdError
from shardrouter.topology.id_layout import slot_of_id
from tests.support.id_windows import MemoryWindows

MS = 1_000_000
PROCESSES = 3

processes = st.integers(0, PROCESSES - 1)
spans = st.sampled_from([0, 1, 400, 999, 1000, 1001, 2500])  # ms; a lease has 1000
steps = st.one_of(
    st.tuples(st.just("make"), processes, st.integers(1, 40)),
    st.tuples(st.just("step"), processes, spans.map(lambda ms: -2 * ms) | spans),
    st.tuples(st.just("pass"), processes, spans),
    st.tuples(st.just("catalog steps"), st.just(0), spans.map(lambda ms: -ms) | spans),
    st.tuples(st.sampled_from(["renew", "crash", "close"]), processes, st.just(0)),
)


class World:
    """Processes with clocks of their own, sharing fewer worker numbers than there are of them."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.windows = MemoryWindows(lease_ms=1000, horizon_ms=2000, numbers=2)
        self.clocks = [0] * PROCESSES
        self.sources = [self.start(i) for i in range(PROCESSES)]
        self.last = [-1] * PROCESSES
        self.seen: set[int] = set()

    def start(self, process: int) -> IdSource:
        return IdSource(
            self.windows,
            self.slots,
            IdSettings(lease_seconds=1, horizon_seconds=2),
            f"process {process}",
            lambda seconds: None,
            lambda: self.clocks[process],
        )

    def make(self, process: int, count: int) -> None:
        for n in range(count):
            slot = n % self.slots
            try:
                made = self.sources[process].new_id(slot)
            except IdError:
                return
            assert made not in self.seen
            assert made > self.last[process]
            assert slot_of_id(made, self.slots) == slot
            self.seen.add(made)
            self.last[process] = made

    def run(self, what: str, process: int, amount: int) -> None:
        match what:
            case "make":
                self.make(process, amount)
            case "step":
                self.clocks[process] += amount * MS
            case "pass":  # everybody's clock but one frozen process's
                self.windows.now_ms += amount
                for other in range(PROCESSES):
                    self.clocks[other] += amount * MS * (other != process)
            case "catalog steps":
                self.windows.now_ms += amount
            case "renew":
                try:
                    self.sources[process].renew_if_needed()
                except IdError:
                    return
            case "crash":
                self.sources[process] = self.start(process)
                self.last[process] = -1
            case "close":
                self.sources[process].close()


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([16, 4096, 16384]), st.lists(steps, min_size=15, max_size=80))
def test_no_id_twice_and_always_growing(slots: int, script: list[tuple[str, int, int]]) -> None:
    world = World(slots)
    for what, process, amount in script:
        world.run(what, process, amount)
