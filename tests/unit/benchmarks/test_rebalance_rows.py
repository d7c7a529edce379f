"""What the suite ``rebalance`` makes of what it found."""

from benchmarks.rebalance.foreground import LIMITED, Felt, felt_rows, limit
from benchmarks.rebalance.transactions import Notes, Transaction
from benchmarks.rebalance.write_pause import Paused, pause_rows


def test_the_pause_that_must_be_short_is_the_movers_99th_percentile():
    notes = Notes([Transaction(0.0, 0.1, True)] * 10)
    found = Paused([30.0] * 99 + [170.0], [50.0] * 100, notes, put_off=2)
    rows = {row.name: row for row in pause_rows("a load", found)}
    bounded = {name: row.holds for name, row in rows.items() if row.bound is not None}
    assert bounded == {
        "write pause p99 seen by the mover, a load": True,
        "failed transactions, a load": True,
    }
    p99 = rows["write pause p99 seen by the mover, a load"]
    assert (p99.median, p99.high) == (30.0, 170.0)
    assert rows["cutovers put off, a load"].median == 2


def test_one_failed_transaction_breaks_the_bound():
    found = Paused([30.0], [50.0], Notes(failed=1), put_off=0)
    holds = {row.name: row.holds for row in pause_rows("a load", found)}
    assert holds["failed transactions, a load"] is False


def test_a_limit_is_between_quiet_and_disturbed_writes():
    assert limit([4.0, 2.0, 3.0], [27.0]) == 9.0
    assert limit([5.0], [3.0]) == 5.0


def test_a_limit_is_kept_within_a_tenth():
    felt = Felt(quiet=[4.0, 4.0], limits={kind: [8.0, 10.0] for kind in LIMITED})
    for kind in felt.during:
        felt.during[kind], felt.seconds[kind] = [9.0, 11.0], [1.0, 2.0]
    first, second, *rest = felt_rows(felt)
    assert [(row.median, row.holds) for row in (first, second)] == [(1.1125, False)] * 2
    assert not [row for row in rest if row.bound is not None]
    felt.during["safe, limited"] = [8.0, 10.5]
    assert [row.holds for row in felt_rows(felt)[:2]] == [True, False]
