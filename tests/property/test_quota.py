"""Whatever workers do, no bound is passed and nobody starves."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shardrouter.proxy.quota import Bounds, Claim, Granted, Notice, Pool, Quota, Shed, scopes_of

WORKERS = range(4)
POOLS = [Pool(node, user) for node in ("a", "b") for user in ("x", "y")]
CLAIMS = [Claim(worker, pool) for worker in WORKERS for pool in POOLS]
claims = st.sampled_from(CLAIMS)
small = st.integers(1, 8)
bounds = st.builds(Bounds, small, small, small, st.integers(1, 16))


class Workers:
    """What the workers believe they may have open, and were asked to give back."""

    def __init__(self) -> None:
        self.open = dict.fromkeys(CLAIMS, 0)
        self.owed = dict.fromkeys(CLAIMS, 0)
        self.wanted = dict.fromkeys(CLAIMS, 0)

    def hear(self, notices: list[Notice]) -> None:
        for notice in notices:
            match notice:
                case Granted(claim):
                    assert self.wanted[claim] > 0, "granted without a wish"
                    self.wanted[claim] -= 1
                    self.open[claim] += 1
                case Shed(claim, count):
                    self.owed[claim] += count
                    assert self.owed[claim] <= self.open[claim], "asked for more than there is"


class QuotaTalk(RuleBasedStateMachine):
    """Workers that want, free, die and obey in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.bounds = Bounds(3, 5, 4, 6)
        self.quota = Quota(self.bounds)
        self.workers = Workers()
        self.was_lowered = False

    @rule(claim=claims, count=st.integers(1, 5))
    def want(self, claim: Claim, count: int) -> None:
        is_granted, notices = self.quota.want(claim, count)
        if is_granted:
            self.workers.open[claim] += count
        else:
            self.workers.wanted[claim] = count
        self.workers.hear(notices)

    @rule(claim=claims)
    def withdraw(self, claim: Claim) -> None:
        self.workers.wanted[claim] = 0
        self.workers.hear(self.quota.want(claim, 0)[1])

    @rule(claim=claims, count=st.integers(1, 5))
    def free(self, claim: Claim, count: int) -> None:
        count = min(count, self.workers.open[claim])
        self.workers.open[claim] -= count
        self.workers.owed[claim] = max(0, self.workers.owed[claim] - count)
        self.workers.hear(self.quota.freed(claim, count))

    @rule(worker=st.sampled_from(WORKERS))
    def die(self, worker: int) -> None:
        for claim in CLAIMS:
            if claim.worker == worker:
                for numbers in vars(self.workers).values():
                    numbers[claim] = 0
        self.workers.hear(self.quota.forget(worker))

    @rule()
    def rotate(self) -> None:
        self.workers.hear(self.quota.rotate())

    @rule(new=bounds)
    def rebound(self, new: Bounds) -> None:
        self.bounds = new
        self.workers.hear(self.quota.rebound(new))
        self.obey()

    @precondition(lambda self: any(self.workers.owed.values()))
    @rule()
    def obey(self) -> None:
        for claim in CLAIMS:
            if owed := self.workers.owed[claim]:
                self.free(claim, owed)

    @invariant()
    def no_bound_is_passed(self) -> None:
        for pool in POOLS:
            for scope in scopes_of(pool):
                used = sum(
                    count
                    for claim, count in self.workers.open.items()
                    if scope in scopes_of(claim.pool)
                )
                assert used == self.quota.total(scope)
                assert used <= self.bounds.of(scope)

    @invariant()
    def a_wish_that_fits_is_not_left_waiting(self) -> None:
        waiting = [claim for claim, count in self.workers.wanted.items() if count]
        assert self.quota.has_waiting == bool(waiting)
        if len(waiting) == 1:
            [claim] = waiting
            assert any(
                self.quota.total(scope) >= self.bounds.of(scope) for scope in scopes_of(claim.pool)
            )


TestQuotaTalk = QuotaTalk.TestCase
TestQuotaTalk.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(limits=bounds, greedy=claims, late=claims, size=st.integers(1, 16))
@settings(max_examples=300, deadline=None)
def test_who_comes_late_gets_the_fair_share(
    limits: Bounds, greedy: Claim, late: Claim, size: int
) -> None:
    """One claim takes what it can and wants ever more; another one still gets its half."""
    if greedy == late:
        return
    quota, workers = Quota(limits), Workers()
    workers.wanted[greedy] = size
    is_granted, notices = quota.want(greedy, size)
    if is_granted:
        workers.open[greedy], workers.wanted[greedy] = size, 0
    workers.hear(notices)
    workers.wanted[late] = size
    is_granted, notices = quota.want(late, size)
    if is_granted:
        return
    workers.hear(notices)
    shared = [scope for scope in scopes_of(late.pool) if scope in scopes_of(greedy.pool)]
    alone = [scope for scope in scopes_of(late.pool) if scope not in shared]
    fair = min([size, *(max(1, limits.of(s) // 2) for s in shared), *(limits.of(s) for s in alone)])
    best = 0
    for _ in range(40):
        for claim in (greedy, late):
            if owed := workers.owed[claim]:
                workers.owed[claim] = 0
                workers.open[claim] -= owed
                workers.hear(quota.freed(claim, owed))
                if claim == greedy and not workers.wanted[greedy]:
                    workers.wanted[greedy] = size
                    workers.hear(quota.want(greedy, size)[1])
        workers.hear(quota.rotate())
        best = max(best, workers.open[late])
    assert best >= fair
