"""The Python files and documents of the repository, for the tests of this folder."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = ROOT / "shardrouter"
SHIPPED: Final = ("shardrouter", "migrations", "benchmarks", "demo")


def python_files(*folders: str) -> Iterator[Path]:
    """Yield the Python files below folders of the repository."""
    for folder in folders:
        yield from sorted(p for p in (ROOT / folder).rglob("*.py") if "build" not in p.parts)


def documents() -> list[Path]:
    """Return every document written in Markdown."""
    folders = (ROOT / "docs", ROOT / "demo", ROOT / "benchmarks")
    found = [*ROOT.glob("*.md"), *(path for folder in folders for path in folder.rglob("*.md"))]
    return sorted(found)


@cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(), str(path))


def name_of(path: Path) -> str:
    """Return a path as it is named in messages."""
    return path.relative_to(ROOT).as_posix()


def require_none(offenders: Iterable[str]) -> None:
    """Fail naming every offender, one a line."""
    named = sorted(offenders)
    if named:
        raise AssertionError("\n".join(["", *named]))
