"""docs/flows/proxy.md shows the table of answers as it is."""

from pathlib import Path

from shardrouter.wire.answers import ANSWERS, Action
from shardrouter.wire.codes import Owed

PAGE = Path(__file__).parents[3] / "docs/flows/proxy.md"
PASSED = (Action.PASS, Action.EVENT, Action.FAIL, Action.COPY_IN)
ANSWERING = (Action.NEXT, Action.PARSED, Action.READY, Action.COPY_DONE, Action.COPY_FAIL)
NEVER_AT_THE_HEAD = {Owed.CLOSE_FAKE, Owed.COPY_DATA, Owed.COPY_END}


def _cell(answers: dict[str, Action], wanted: tuple[Action, ...]) -> str:
    return " ".join(f"`{kind}`" for kind, action in answers.items() if action in wanted)


def test_the_table_is_in_the_document() -> None:
    hidden = tuple(set(Action) - {*PASSED, *ANSWERING})
    expected = [
        "| "
        + " | ".join(
            [owed.name, *(_cell(dict(ANSWERS[owed]), w) for w in (PASSED, ANSWERING, hidden))]
        ).replace("|  |", "| |")
        for owed in Owed
        if owed in ANSWERS
    ]
    shown = PAGE.read_text().partition("<!-- answers -->")[2].partition("<!-- end")[0]
    rows = [row.replace(" ", "") for row in shown.splitlines() if row.startswith("|")][2:]
    assert rows == [f"{row}|".replace(" ", "") for row in expected]


def test_what_is_waited_for_has_answers() -> None:
    assert set(Owed) - set(ANSWERS) == NEVER_AT_THE_HEAD
