"""Plans are kept by structure, bounded, and never mix values of two statements."""

from typing import Any

import pytest
from sqlalchemy import bindparam, select, type_coerce
from sqlalchemy.types import UserDefinedType

from shardrouter.client.gathering.plans import GatherPlans
from shardrouter.errors import CrossShardUnsupported
from shardrouter.routing.merge import ColumnFacts
from tests.support.gather_tables import Thing

T = Thing


class Uncacheable(UserDefinedType[Any]):
    cache_ok = False

    def get_col_spec(self) -> str:
        return "text"


def test_the_same_structure_has_one_plan_and_its_own_values() -> None:
    plans = GatherPlans()
    first, one = plans.plan(select(T.id).where(T.i4 > 1).limit(3), {})
    second, two = plans.plan(select(T.id).where(T.i4 > 7).limit(9), {})
    assert first is second
    assert one.keys() == two.keys()
    assert sorted(one.values()) == [1, 3]
    assert sorted(two.values()) == [7, 9]


def test_values_computed_when_they_are_asked_for() -> None:
    plans = GatherPlans()
    query = select(T.id).where(T.i4 > bindparam("low", callable_=lambda: 5))
    assert list(plans.plan(query, {})[1].values()) == [5]


def test_other_structures_have_other_plans() -> None:
    plans = GatherPlans()
    assert plans.plan(select(T.id), {})[0] is not plans.plan(select(T.id).limit(1), {})[0]
    translated = {"schema_translate_map": {None: "other"}}
    assert plans.plan(select(T.id), {})[0] is not plans.plan(select(T.id), translated)[0]


def test_the_plan_not_used_for_longest_goes_first() -> None:
    plans = GatherPlans(size=2)
    first = plans.plan(select(T.id), {})[0]
    plans.plan(select(T.i4), {})
    assert plans.plan(select(T.id), {})[0] is first
    plans.plan(select(T.i8), {})
    assert len(plans) == 2
    assert plans.plan(select(T.id), {})[0] is first


def test_a_statement_without_a_key_is_planned_each_time() -> None:
    plans = GatherPlans()
    query = select(type_coerce(T.txt, Uncacheable())).where(T.i4 > 1)
    plan, values = plans.plan(query, {})
    assert values == {}
    assert len(plans) == 0
    assert plan.split.limit is None


def test_refused_statements_leave_no_plan() -> None:
    plans = GatherPlans()
    with pytest.raises(CrossShardUnsupported):
        plans.plan(select(T.id).with_for_update(), {})
    assert len(plans) == 0


def test_facts_grow_old() -> None:
    plan, _ = GatherPlans().plan(select(T.id).order_by(T.txt), {})
    facts = (ColumnFacts(25, "text", None, '"C"', (), bytewise=True),)
    assert plan.facts(now=0, seconds=60) is None
    plan.learn(facts, now=100)
    assert plan.facts(now=160, seconds=60) == facts
    assert plan.facts(now=161, seconds=60) is None
    plan.forget()
    assert plan.facts(now=101, seconds=60) is None
