"""Quota: bounds hold, who waits gets the fair share, places go round where they are too few."""

from collections.abc import Iterable

import pytest

from shardrouter.proxy.quota import (
    FLEET,
    Bounds,
    Claim,
    Granted,
    Notice,
    Pool,
    Quota,
    Shed,
    Spare,
    scopes_of,
)

P = Pool("s0-p", "app")
OTHER_USER = Pool("s0-p", "report")
OTHER_NODE = Pool("s1-p", "app")
WIDE = Bounds(pool=10, user=1000, node=1000, fleet=1000)


def granted(notices: Iterable[Notice]) -> list[int]:
    return [n.claim.worker for n in notices if isinstance(n, Granted)]


def sheds(notices: Iterable[Notice]) -> dict[int, int]:
    return {n.claim.worker: n.count for n in notices if isinstance(n, Shed)}


def fill(quota: Quota, worker: int, pool: Pool, count: int) -> None:
    assert quota.want(Claim(worker, pool), count) == (True, [])


@pytest.mark.parametrize(
    ("bounds", "pools"),
    [
        (Bounds(2, 100, 100, 100), [P]),
        (Bounds(100, 2, 100, 100), [P, OTHER_NODE]),
        (Bounds(100, 100, 2, 100), [P, OTHER_USER]),
        (Bounds(100, 100, 100, 2), [P, Pool("s9-p", "somebody")]),
    ],
)
def test_every_bound_holds(bounds: Bounds, pools: list[Pool]) -> None:
    quota = Quota(bounds)
    fill(quota, 1, pools[0], 1)
    fill(quota, 1, pools[-1], 1)
    is_granted, _ = quota.want(Claim(1, pools[0]))
    assert not is_granted


def test_more_than_fits_is_granted_one_by_one() -> None:
    quota = Quota(WIDE)
    is_granted, notices = quota.want(Claim(1, P), 12)
    assert not is_granted
    assert granted(notices) == [1] * 10
    assert granted(quota.freed(Claim(1, P), 2)) == [1, 1]
    assert quota.held(Claim(1, P)) == 10


def test_what_is_freed_goes_to_who_waits_longest() -> None:
    quota = Quota(Bounds(3, 100, 100, 100))
    fill(quota, 1, P, 3)
    quota.want(Claim(2, P))
    quota.want(Claim(3, P))
    quota.want(Claim(2, P))  # said again: no second place in the queue, none lost
    assert granted(quota.freed(Claim(1, P))) == [2]
    assert granted(quota.freed(Claim(1, P))) == [3]
    assert not quota.has_waiting


def test_what_is_above_the_fair_share_is_asked_back_once() -> None:
    quota = Quota(WIDE)
    fill(quota, 1, P, 10)
    _, notices = quota.want(Claim(2, P), 8)
    assert sheds(notices) == {1: 5}
    assert sheds(quota.settle()) == {}
    for _ in range(5):
        assert granted(quota.freed(Claim(1, P))) == [2]
    assert (quota.held(Claim(1, P)), quota.held(Claim(2, P))) == (5, 5)
    assert sheds(quota.rotate()) == {}  # both have their share, though one wants more


def test_a_small_wish_sheds_only_what_it_needs() -> None:
    quota = Quota(WIDE)
    fill(quota, 1, P, 10)
    assert sheds(quota.want(Claim(2, P), 1)[1]) == {1: 1}


def test_the_one_that_holds_most_sheds_first() -> None:
    quota = Quota(WIDE)
    fill(quota, 1, P, 3)
    fill(quota, 2, P, 7)
    assert sheds(quota.want(Claim(3, P), 3)[1]) == {2: 3}


def test_users_of_a_node_share_it_too() -> None:
    quota = Quota(Bounds(pool=10, user=100, node=10, fleet=100))
    fill(quota, 1, P, 10)
    assert sheds(quota.want(Claim(1, OTHER_USER), 2)[1]) == {1: 2}


def test_a_withdrawn_wish_is_not_granted() -> None:
    quota = Quota(Bounds(1, 9, 9, 9))
    fill(quota, 1, P, 1)
    quota.want(Claim(2, P))
    quota.want(Claim(2, P), 0)
    assert quota.freed(Claim(1, P)) == []
    assert quota.total(FLEET) == 0


def test_a_dead_worker_holds_and_wants_nothing() -> None:
    quota = Quota(Bounds(2, 9, 9, 9))
    fill(quota, 1, P, 2)
    quota.want(Claim(2, P))
    quota.want(Claim(3, P))
    quota.forget(3)
    assert granted(quota.forget(1)) == [2]
    assert [quota.total(scope) for scope in scopes_of(P)] == [1, 1, 1, 1]


def test_more_is_freed_than_was_held() -> None:
    quota = Quota(WIDE)
    fill(quota, 1, P, 1)
    quota.freed(Claim(1, P), 5)
    quota.freed(Claim(2, P), 5)
    assert quota.total(FLEET) == 0


def test_places_go_round_where_there_are_too_few() -> None:
    quota = Quota(Bounds(1, 9, 9, 9))
    fill(quota, 1, P, 1)
    turns = []
    quota.want(Claim(2, P))
    quota.want(Claim(3, P))
    for _ in range(6):
        assert sheds(quota.settle()) == {}  # not at once: the place is kept for a while
        [(holder, count)] = sheds(quota.rotate()).items()
        assert count == 1
        assert sheds(quota.rotate()) == {}
        [next_one] = granted(quota.freed(Claim(holder, P)))
        quota.want(Claim(holder, P))
        turns.append(next_one)
    assert turns == [2, 3, 1, 2, 3, 1]


def test_unused_backends_are_asked_for_above_the_fair_share() -> None:
    quota = Quota(WIDE)
    fill(quota, 1, P, 5)
    fill(quota, 2, P, 5)
    _, notices = quota.want(Claim(2, P), 3)
    assert notices == []
    assert quota.rotate() == [Spare(Claim(1, P), 3)]
    quota.want(Claim(1, P), 2)
    assert quota.rotate() == []  # both use what they have: nobody gains by moving it


def test_lower_bounds_are_reached_by_shedding() -> None:
    quota = Quota(WIDE)
    fill(quota, 1, P, 6)
    fill(quota, 2, P, 4)
    assert sheds(quota.rebound(Bounds(4, 9, 9, 9))) == {1: 4, 2: 2}
    assert quota.want(Claim(3, OTHER_NODE))[0] is False
    assert quota.rebound(WIDE) != []
