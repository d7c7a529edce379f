"""Plans as JSON, for files and programs. A file is checked like any input from outside."""

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from shardrouter.errors import MoveRefused
from shardrouter.rebalance.planning.priced_plan import RebalancePlan

FORMAT: Final = 1


class PlanFile(BaseModel):
    """What a plan file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = FORMAT
    plan: RebalancePlan


def plan_as_data(plan: RebalancePlan) -> dict[str, Any]:
    """Return the plan as plain JSON data."""
    return PlanFile(plan=plan).model_dump(mode="json")


def write_plan(plan: RebalancePlan, path: Path) -> None:
    """Write the plan file, over an older one. Raises MoveRefused when that is not possible."""
    try:
        path.write_text(PlanFile(plan=plan).model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise MoveRefused(
            f"the plan cannot be written to {path}: {error.strerror}", hint="choose another file"
        ) from error


def read_plan(path: Path) -> RebalancePlan:
    """Read a plan file. Raises MoveRefused when there is none, or it holds something else."""
    try:
        return PlanFile.model_validate_json(path.read_bytes()).plan
    except OSError as error:
        raise MoveRefused(
            f"there is no plan in {path}: {error.strerror}",
            hint="make one with `shardrouter rebalance plan --save FILE`",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MoveRefused(
            f"{path} holds no plan of format {FORMAT}: {where}: {first['msg']}",
            hint="make it again with `shardrouter rebalance plan --save FILE`",
        ) from error
