"""Rate and remaining time of a copy."""

from typing import Any

from shardrouter.rebalance.copying.progress import Rate, note_copied, rows_so_far
from shardrouter.rebalance.cutover.retreat import pause_before_retry


def test_rate_and_remaining_time():
    progress: dict[str, Any] = {"rows_total": 1000}
    rate = Rate()
    note_copied(progress, rate, 0.0, 0, 0)
    assert "eta_seconds" not in progress
    note_copied(progress, rate, 2.0, 200, 4096)
    assert progress == {
        "rows_total": 1000,
        "rows_copied": 200,
        "bytes_copied": 4096,
        "rows_per_second": 100,
        "eta_seconds": 8.0,
    }


def test_a_table_that_is_copied_counts_as_expected_since_its_end_is_not_seen():
    expected = {"a": 100, "b": 50, "c": 7}
    assert rows_so_far(expected, {"a": 60, "b": 20}, ()) == 80
    assert rows_so_far(expected, {"a": 60, "b": 20}, ("a",)) == 120
    assert rows_so_far(expected, {"a": 130, "b": 20}, ("a", "c")) == 157
    assert rows_so_far({}, {"a": 60}, ("a", "b")) == 60


def test_only_the_last_seconds_count():
    rate = Rate()
    for second in range(30):
        rate.add(float(second), second * 10 if second < 15 else 150)
    assert rate.add(30.0, 150) == 0.0


def test_the_pause_before_the_next_cutover_doubles_to_a_minute():
    pauses = [pause_before_retry(2.0, count) for count in range(1, 8)]
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
