"""Differences of two fingerprints in words."""

from shardrouter.postgres.moving import differences


def test_equal_fingerprints_differ_in_nothing():
    assert differences({"column a": "text"}, {"column a": "text"}) == []


def test_each_difference_is_told_once():
    ours = {"column a": "text", "column b": "int", "index x": ""}
    theirs = {"column a": "bytea", "column c": "date"}
    assert differences(ours, theirs) == [
        "column a is text here, bytea there",
        "column b is missing there (int)",
        "column c is missing here (date)",
        "index x is missing there",
    ]
