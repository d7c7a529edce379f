"""Decide which worker may open one more backend, so that no bound is passed and nobody starves.

Pure: wants and releases in, grants and sheds out; the parent carries them to the workers. A
*claim* is one worker's use of one pool (a user on a node). It counts in four scopes: its pool, its
user, its node and the fleet, each with a bound.

Invariants: no scope holds more than its bound (it may after the bounds were lowered, until enough
was given back). A claim that wants more and holds less than its fair share of every scope (bound
by number of claims there) gets it after others have shed what they hold above theirs. Where there
are more claims than places, the places go round with each ``rotate``.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from shardrouter.config import ProxyPoolSettings


class Pool(NamedTuple):
    """The backends of one user on one node."""

    node: str
    user: str


class Claim(NamedTuple):
    """One worker's use of a pool. Workers are told apart by the number of their life."""

    worker: int
    pool: Pool


@dataclass(frozen=True, slots=True)
class Granted:
    """A worker that was refused may open one backend now. It is counted already."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class Shed:
    """A worker shall give back so many backends as soon as it can."""

    claim: Claim
    count: int


@dataclass(frozen=True, slots=True)
class Spare:
    """Others wait: a worker that waits for nothing itself may give back what lies idle there."""

    claim: Claim
    count: int


Notice = Granted | Shed | Spare
Scope = tuple[str, str, str]

FLEET: Final[Scope] = ("fleet", "", "")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many backends a scope may hold."""

    pool: int
    user: int
    node: int
    fleet: int

    @classmethod
    def of_settings(cls, settings: ProxyPoolSettings) -> "Bounds":
        return cls(settings.size, settings.user_size, settings.node_size, settings.fleet_size)

    def of(self, scope: Scope) -> int:
        match scope[0]:
            case "pool":
                return self.pool
            case "user":
                return self.user
            case "node":
                return self.node
            case _:
                return self.fleet


def scopes_of(pool: Pool) -> tuple[Scope, ...]:
    """Return where a backend of the pool counts, narrow ones first."""
    return (
        ("pool", pool.node, pool.user),
        ("user", "", pool.user),
        ("node", pool.node, ""),
        FLEET,
    )


class Quota:
    """What every worker holds, and who waits for more."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._held: dict[Claim, int] = {}  # in the order of the last grant: longest ago first
        self._leaving: dict[Claim, int] = {}  # asked back, not returned yet
        self._waiting: dict[Claim, int] = {}  # first come, first served
        self._totals: dict[Scope, int] = defaultdict(int)
        self._claims: dict[Scope, dict[Claim, None]] = defaultdict(dict)

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    def held(self, claim: Claim) -> int:
        """Return how many backends a claim may have open."""
        return self._held.get(claim, 0)

    def total(self, scope: Scope) -> int:
        """Return how many backends a scope holds."""
        return self._totals.get(scope, 0)

    def want(self, claim: Claim, count: int = 1) -> tuple[bool, list[Notice]]:
        """Ask for ``count`` more backends; True: they may be opened.

        Otherwise the wish is remembered, in place of an earlier one, and granted one by one. A
        count of 0 withdraws it.
        """
        if count <= 0:
            self._waiting.pop(claim, None)
            self._forget_if_idle(claim)
            return False, self.settle()
        if claim not in self._waiting and self._fits(claim, count, self._reservations()):
            self._take(claim, count)
            return True, []
        self._waiting[claim] = count  # who says it anew keeps its place in the queue
        for scope in scopes_of(claim.pool):
            self._claims[scope][claim] = None
        return False, self.settle()

    def freed(self, claim: Claim, count: int = 1) -> list[Notice]:
        """Note that a worker closed backends, or did not open what it was granted."""
        self._return(claim, min(count, self.held(claim)))
        return self.settle()

    def forget(self, worker: int) -> list[Notice]:
        """Drop everything of a worker that ended."""
        mine = [claim for claim in {**self._held, **self._waiting} if claim.worker == worker]
        for claim in mine:
            self._waiting.pop(claim, None)
            self._return(claim, self.held(claim))
            self._forget_if_idle(claim)
        return self.settle()

    def rebound(self, bounds: Bounds) -> list[Notice]:
        """Use other bounds from now on."""
        self._bounds = bounds
        return self.settle()

    def settle(self) -> list[Notice]:
        """Grant what fits and ask back what is due to others. Run by every change."""
        return [*self._grants(), *self._sheds(take_turns=False)]

    def rotate(self) -> list[Notice]:
        """Ask places back for claims that have none where there are too few for all of them.

        Run now and then while claims wait: a backend that changes its worker is opened anew.
        """
        return [*self._sheds(take_turns=True), *self._spares()]

    def _grants(self) -> list[Notice]:
        granted: list[Notice] = []
        while (claim := self._next_grant()) is not None:
            self._take(claim, 1)
            granted.append(Granted(claim))
            left = self._waiting.pop(claim) - 1
            if left:
                self._waiting[claim] = left  # behind the others
        return granted

    def _next_grant(self) -> Claim | None:
        """Return the claim whose turn it is among those that fit."""
        reserved: dict[Scope, int] = {}
        others = []
        for claim in self._waiting:
            if not self._is_entitled(claim):
                others.append(claim)
            elif self._fits(claim, 1, reserved):
                return claim
            else:
                _reserve(reserved, claim)
        return next((claim for claim in others if self._fits(claim, 1, reserved)), None)

    def _reservations(self) -> dict[Scope, int]:
        """Return the places kept for claims that wait for their fair share.

        Without them two scopes that come free by turns could pass a claim by for ever.
        """
        reserved: dict[Scope, int] = {}
        for claim in self._waiting:
            if self._is_entitled(claim):
                _reserve(reserved, claim)
        return reserved

    def _sheds(self, take_turns: bool) -> list[Notice]:
        """Return what to ask back, beyond what was asked for already."""
        plan = _ShedPlan(self._held, self._leaving, self._totals, self._claims, self._bounds)
        for claim in self._waiting:
            for _ in range(self._due(claim)):
                if not plan.make_room(claim, take_turns):
                    break
        plan.shrink()
        for claim, count in plan.sheds.items():
            self._leaving[claim] = self._leaving.get(claim, 0) + count
        return [Shed(claim, count) for claim, count in plan.sheds.items()]

    def _spares(self) -> list[Notice]:
        spares: dict[Claim, int] = {}
        for claim, count in self._waiting.items():
            for scope in scopes_of(claim.pool):
                if self._totals.get(scope, 0) < self._bounds.of(scope):
                    continue
                for other in self._claims[scope]:
                    if other not in self._waiting and self.held(other):
                        spares[other] = max(count, spares.get(other, 0))
        return [Spare(claim, count) for claim, count in spares.items()]

    def _due(self, claim: Claim) -> int:
        """Return how much of what a claim waits for belongs to its fair share."""
        fair = min(self._fair_share(scope) for scope in scopes_of(claim.pool))
        return max(0, min(self._waiting[claim], fair - self.held(claim)))

    def _fits(self, claim: Claim, count: int, reserved: Mapping[Scope, int]) -> bool:
        return all(
            self._totals.get(scope, 0) + reserved.get(scope, 0) + count <= self._bounds.of(scope)
            for scope in scopes_of(claim.pool)
        )

    def _is_entitled(self, claim: Claim) -> bool:
        return all(self.held(claim) < self._fair_share(s) for s in scopes_of(claim.pool))

    def _fair_share(self, scope: Scope) -> int:
        """Return what every claim of a scope may have whatever the others want: 1 at least."""
        return max(1, self._bounds.of(scope) // max(1, len(self._claims.get(scope, ()))))

    def _take(self, claim: Claim, count: int) -> None:
        self._held[claim] = self._held.pop(claim, 0) + count
        for scope in scopes_of(claim.pool):
            self._totals[scope] += count
            self._claims[scope][claim] = None

    def _return(self, claim: Claim, count: int) -> None:
        if count <= 0:
            return
        self._held[claim] -= count
        for scope in scopes_of(claim.pool):
            self._totals[scope] -= count
        leaving = min(self.held(claim), self._leaving.get(claim, 0) - count)
        if leaving > 0:
            self._leaving[claim] = leaving
        else:
            self._leaving.pop(claim, None)
        if not self._held[claim]:
            del self._held[claim]
            self._forget_if_idle(claim)

    def _forget_if_idle(self, claim: Claim) -> None:
        if claim in self._held or claim in self._waiting:
            return
        for scope in scopes_of(claim.pool):
            self._claims[scope].pop(claim, None)
            if not self._claims[scope]:
                del self._claims[scope]
                self._totals.pop(scope, None)


class _ShedPlan:
    """Who gives back how much, worked out on numbers as they will be when all of it has come."""

    def __init__(
        self,
        held: Mapping[Claim, int],
        leaving: Mapping[Claim, int],
        totals: Mapping[Scope, int],
        claims: Mapping[Scope, Iterable[Claim]],
        bounds: Bounds,
    ) -> None:
        self.sheds: dict[Claim, int] = {}
        self._kept = {claim: count - leaving.get(claim, 0) for claim, count in held.items()}
        self._expected = dict(totals)
        self._claims = claims
        self._bounds = bounds
        for claim, count in leaving.items():
            self._expect(claim, -count)

    def make_room(self, claim: Claim, take_turns: bool) -> bool:
        """Plan what has to go for one more place of a claim; False: nobody can be asked."""
        for scope in scopes_of(claim.pool):
            fair = self._bounds.of(scope) // len(list(self._claims[scope]))
            keep = fair or (0 if take_turns else 1)
            while self._expected.get(scope, 0) + 1 > self._bounds.of(scope):
                if not self._shed_one(scope, claim, keep):
                    return False
        self._expect(claim, 1)
        return True

    def shrink(self) -> None:
        """Plan what has to go because bounds were lowered."""
        for scope in self._expected:
            while self._expected[scope] > self._bounds.of(scope):
                if not self._shed_one(scope, None, 0):
                    break

    def _shed_one(self, scope: Scope, beneficiary: Claim | None, keep: int) -> bool:
        """Take one from the claim that keeps most, of equals from the one that has it longest."""
        order = {claim: -at for at, claim in enumerate(self._kept)}
        others = [
            claim
            for claim in self._claims.get(scope, ())
            if claim != beneficiary and self._kept.get(claim, 0) > keep
        ]
        if not others:
            return False
        victim = max(others, key=lambda claim: (self._kept[claim], order[claim]))
        self.sheds[victim] = self.sheds.get(victim, 0) + 1
        self._kept[victim] -= 1
        self._expect(victim, -1)
        return True

    def _expect(self, claim: Claim, change: int) -> None:
        for scope in scopes_of(claim.pool):
            self._expected[scope] = self._expected.get(scope, 0) + change


def _reserve(reserved: dict[Scope, int], claim: Claim) -> None:
    for scope in scopes_of(claim.pool):
        reserved[scope] = reserved.get(scope, 0) + 1
