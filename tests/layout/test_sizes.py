"""Files and functions stay small enough to be read whole."""

import ast
from pathlib import Path
from typing import Final

from tests.layout.sources import SHIPPED, name_of, parsed, python_files, require_none

MOST_LINES: Final = 400
MOST_LINES_OF_TESTS: Final = 600
MOST_LINES_OF_A_FUNCTION: Final = 40

Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_files_are_short():
    require_none(_longer_than(MOST_LINES, *SHIPPED))


def test_tests_are_short():
    require_none(_longer_than(MOST_LINES_OF_TESTS, "tests"))


def test_functions_are_short():
    found = [
        f"{name_of(path)}:{node.lineno} {node.name}: {lines} lines"
        for path in python_files("shardrouter", "benchmarks", "demo", "tests")
        for node in ast.walk(parsed(path))
        if isinstance(node, Function) and (lines := _lines(node)) > MOST_LINES_OF_A_FUNCTION
    ]
    require_none(found)


def test_a_long_function_is_found():
    body = "\n".join(f"    x = {number}" for number in range(40))
    [function] = ast.parse(f'def long():\n    """Docs."""\n{body}\n').body
    assert isinstance(function, Function)
    assert _lines(function) == 40


def _lines(node: Function) -> int:
    """Return the lines of the body. A signature may list many options, a docstring explain them."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if not body:
        return 0
    end = body[-1].end_lineno
    assert end is not None
    return end - body[0].lineno + 1


def _longer_than(limit: int, *folders: str) -> list[str]:
    return [
        f"{name_of(path)}: {lines} lines"
        for path in python_files(*folders)
        if (lines := _count(path)) > limit
    ]


def _count(path: Path) -> int:
    return len(path.read_text().splitlines())
