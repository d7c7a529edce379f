"""docs/flows/move.md shows the table of states, and the arrows drawn from it, as they are."""

from pathlib import Path

from shardrouter.topology.motion import Motion
from shardrouter.topology.move import (
    CUTTING_OVER,
    OVER,
    POINT_OF_NO_RETURN,
    STATES,
    Direction,
    MoveState,
    may_abort,
)

PAGE = (Path(__file__).parents[3] / "docs/flows/move.md").read_text()


def _between(mark: str) -> list[str]:
    text = PAGE.partition(f"<!-- {mark} -->")[2].partition(f"<!-- end of {mark} -->")[0]
    assert text.strip(), f"there is no part {mark!r} in the document"
    return [line.strip() for line in text.splitlines() if line.strip()]


def _following(state: MoveState) -> list[MoveState]:
    return [other for other in MoveState if other in STATES[state].following]


def _row(state: MoveState) -> str:
    facts = STATES[state]
    then = " ".join(f"`{other}`" for other in _following(state)) or "-"
    return f"| `{state}` | {facts.does} | {facts.leaves} | {then} |"


def _arrows() -> list[str]:
    steps = [f"{state} --> {other}" for state in STATES for other in _following(state)]
    ends = [f"{state} --> [*]" for state in STATES if state in OVER]
    return [f"[*] --> {MoveState.PLANNED}", *steps, *ends]


def test_the_table_is_that_of_the_states() -> None:
    assert _between("states")[2:] == [_row(state) for state in STATES]


def test_every_arrow_is_a_step_the_table_allows() -> None:
    drawn = [line for line in _between("arrows") if "-->" in line]
    assert drawn == _arrows()


def test_the_states_with_a_meaning_of_their_own_are_named() -> None:
    [line] = _between("marks of states")
    cutting = ", ".join(f"`{state}`" for state in STATES if state in CUTTING_OVER)
    over = ", ".join(f"`{state}`" for state in STATES if state in OVER)
    abortable = ", ".join(f"`{state}`" for state in STATES if may_abort(state, Direction.FORWARD))
    assert line == (
        f"Point of no return: `{POINT_OF_NO_RETURN}`. Writers wait: {cutting}."
        f" Over: {over}. `move abort` is possible in: {abortable}."
    )


def test_every_phase_routers_see_is_explained() -> None:
    publications = " ".join(_between("publications"))
    assert all(f"`{motion}`" in publications for motion in Motion)
