"""Rounds are interleaved and fair; nothing here looks at how long anything takes."""

from collections import Counter

import pytest

from benchmarks.measure import (
    Contender,
    Rounds,
    WrongAnswer,
    check,
    each_call,
    run_rounds,
    turned,
    whole_loop,
)
from benchmarks.progress import Progress
from benchmarks.suite import Effort


def contenders(names, log):
    def block_of(name):
        def block(calls):
            log.append((name, calls))
            return float(len(log))

        return block

    return [Contender(name, block_of(name)) for name in names]


def test_each_round_runs_every_contender_once_after_a_warm_up():
    log = []
    rounds = run_rounds(contenders("ab", log), rounds=3, calls=7, progress=Progress())
    assert [name for name, _ in log] == ["a", "b", *"ab", *"ba", *"ab"]
    assert {calls for _, calls in log} == {7}
    assert rounds.of("a") == [3.0, 6.0, 7.0]
    assert rounds.of("b") == [4.0, 5.0, 8.0]


def test_every_contender_is_first_equally_often():
    three = contenders("abc", [])
    assert Counter(turned(three, n)[0].name for n in range(9)) == {"a": 3, "b": 3, "c": 3}


def test_ratio_is_taken_within_a_round():
    rounds = Rounds({"ours": [2.0, 30.0], "theirs": [1.0, 10.0]})
    assert rounds.ratio("ours", "theirs") == [2.0, 3.0]
    assert rounds.of("ours", scale=1000) == [2000.0, 30000.0]


def test_blocks_do_the_work_as_often_as_asked():
    done = []
    assert each_call(lambda: done.append(1))(5) > 0
    assert len(done) == 5
    asked = []
    assert whole_loop(asked.append)(9) > 0
    assert asked == [9]


def test_a_wrong_answer_stops_the_run():
    check(True, "right")
    with pytest.raises(WrongAnswer, match="3 rows"):
        check(False, "3 rows are missing")


@pytest.mark.parametrize(
    ("repeat", "is_quick", "rounds"), [(1, False, 60), (3, False, 180), (1, True, 6), (2, True, 12)]
)
def test_effort_scales_the_rounds(repeat, is_quick, rounds):
    assert Effort(Progress(), repeat, is_quick).rounds(60) == rounds


def test_a_quick_run_still_has_two_rounds():
    assert Effort(Progress(), 1, True).rounds(9) == 2
