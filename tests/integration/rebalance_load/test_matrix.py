"""The table of the crash matrix has a line for each fault, in order, and says what failed."""

from tests.plugins.fix_matrix import Matrix


def test_table() -> None:
    matrix = Matrix()
    later = {"order": 2, "phase": "copying", "fault": "b", "outcome": "done"}
    matrix.add("one", later, is_well=True)
    matrix.add("two", {**later, "fault": "a", "outcome": "aborted"}, is_well=False)
    matrix.add("three", {**later, "order": 1, "phase": "planned"}, is_well=True)
    assert matrix.table() == [
        "| phase   | fault | outcome | verdict |",
        "|---------|-------|---------|---------|",
        "| planned | b     | done    | ok      |",
        "| copying | a     | aborted | FAILED  |",
        "| copying | b     | done    | ok      |",
    ]
