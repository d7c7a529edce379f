"""Rows that are wrong, rows in flux, and the list of those that are looked at again."""

from shardrouter.rebalance.checking.compare import judge
from shardrouter.rebalance.cutover.flux import MOST, flux_of, has_too_many, with_flux
from shardrouter.topology import KeyColumn, KeyType, Table, TableKind

ORDERS = Table("orders", TableKind.SHARDED, (KeyColumn("user_id", KeyType.INT8),))
A, B, C, D = ("1",), ("2",), ("3",), ("4",)


def test_a_row_that_stood_still_must_be_equal():
    before = {A: 1, B: 2, C: 3}
    gaining = {A: 1, B: 9, C: 3, D: 4}
    after = {A: 1, B: 2, C: 7}
    verdict = judge(before, gaining, after, [A, B, C, D])
    assert verdict.wrong == {B, D}  # D is only on the gaining side
    assert verdict.flux == {C}


def test_a_row_that_was_deleted_meanwhile_is_in_flux():
    verdict = judge({A: 1}, {A: 1}, {}, [A])
    assert (verdict.wrong, verdict.flux) == (frozenset(), {A})


def test_equal_now_is_equal():
    verdict = judge({A: 1}, {A: 2}, {A: 2}, [A])
    assert (verdict.wrong, verdict.flux) == (frozenset(), frozenset())


def test_flux_is_kept_once_and_as_json_gives_it_back():
    facts = {"flux": with_flux({}, ORDERS, [A, B])}
    facts = {"flux": with_flux(facts, ORDERS, [B, C])}
    assert facts == {"flux": {"public.orders": [["1"], ["2"], ["3"]]}}
    assert flux_of(facts, ORDERS) == [A, B, C]
    assert with_flux(facts, ORDERS, []) == facts["flux"]


def test_too_many_would_hold_writers_up():
    assert not has_too_many({"t": [[str(n)] for n in range(MOST)]})
    assert has_too_many({"t": [[str(n)] for n in range(MOST)], "u": [["1"]]})
