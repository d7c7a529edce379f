"""Rows: bounds, and the JSON form that all suites share."""

import json

import pytest

from benchmarks.report import difference, number, read_rows, table_cells, write_result
from benchmarks.rows import Row, rounded

BOUNDED = Row("unit of work / bare session", "x", 1.0812345, 1.07, 1.09, 1.1)
FREE = Row("unit of work", "us", 312.4, 310.0, 315.0)


def test_json_has_the_agreed_keys_in_the_agreed_order():
    assert list(BOUNDED.to_json()) == [
        *("name", "unit", "median", "low", "high", "bound", "holds"),
    ]


def test_a_row_without_bound_holds_nothing():
    assert FREE.to_json()["bound"] is None
    assert FREE.to_json()["holds"] is None


@pytest.mark.parametrize(("median", "holds"), [(1.0999, True), (1.1, True), (1.1001, False)])
def test_a_bound_is_kept_by_the_median(median, holds):
    assert Row("a", "x", median, 0.9, 1.3, 1.1).holds is holds


def test_json_and_back():
    assert Row.from_json(FREE.to_json()) == FREE
    assert Row.from_json(BOUNDED.to_json()).median == 1.081


def test_of_makes_a_row_of_samples():
    row = Row.of("a", "ms", [3.0, 1.0, 2.0], bound=2.5)
    assert (row.low, row.median, row.high, row.holds) == (1.0, 2.0, 3.0, True)


@pytest.mark.parametrize(
    ("value", "short"), [(0.000123456, 0.0001235), (123456.0, 123500.0), (0.0, 0.0)]
)
def test_rounded_keeps_what_means_something(value, short):
    assert rounded(value) == short


def test_a_result_is_written_with_its_head_and_read_again(tmp_path):
    path = tmp_path / "results" / "library.json"
    write_result(path, {"commit": "abc", "machine": {"cores": 2}}, [FREE, BOUNDED])
    data = json.loads(path.read_text())
    assert data["commit"] == "abc"
    assert data["machine"] == {"cores": 2}
    assert [row.name for row in read_rows(path.read_text())] == [FREE.name, BOUNDED.name]


def test_table_says_which_bounds_do_not_hold():
    broken = Row("slow", "x", 1.2, 1.1, 1.3, 1.1)
    cells = table_cells([BOUNDED, FREE, broken])
    assert [row[5] for row in cells] == ["yes", "", "NO"]
    assert cells[0][1:5] == ("1.08", "1.07 .. 1.09", "x", "<= 1.1")


def test_difference_is_shown_only_beyond_the_spread():
    before = Row("a", "us", 100.0, 90.0, 110.0)
    assert difference(Row("a", "us", 105.0, 95.0, 115.0), before) == "same"
    assert difference(Row("a", "us", 150.0, 140.0, 160.0), before) == "+50 %"
    assert difference(Row("a", "us", 80.0, 79.0, 81.0), before) == "-20 %"
    assert difference(Row("b", "us", 80.0, 79.0, 81.0), None) == "new"


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1,234"), (0.01234, "0.0123"), (12.345, "12.3")]
)
def test_numbers_are_short(value, text):
    assert number(value) == text
