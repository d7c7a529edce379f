"""docs/reference/configuration.md lists every key as it is."""

from pathlib import Path
from typing import Any

from shardrouter.config.problems import allowed, known_keys

PAGE = Path(__file__).parents[3] / "docs/reference/configuration.md"


def words(default: Any) -> str:
    match default:
        case None:
            return "none"
        case tuple():
            return ", ".join(f"`{item}`" for item in default)
        case _:
            return str(default).lower()


def expected_row(path: str, field: Any) -> str:
    default = words(field.default)
    description = " ".join(str(field.description).split())
    return f"| `{path}` | {default or '(empty)'} | {allowed(path, field)} | {description} |"


def test_every_key_has_its_row() -> None:
    rows = set(PAGE.read_text().splitlines())
    expected = [expected_row(path, field) for path, field in known_keys().items()]
    assert [row for row in expected if row not in rows] == []


def test_no_row_of_a_key_that_is_gone() -> None:
    rows = [row for row in PAGE.read_text().splitlines() if row.startswith("| `")]
    keys = {row.split("`")[1] for row in rows if "." in row.split("`")[1]}
    assert keys == set(known_keys())
