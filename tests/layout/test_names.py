"""Modules are named for what they do and say it; layers and folders are the same."""

import ast
import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.layout.sources import PACKAGE, ROOT, SHIPPED, name_of, parsed, python_files, require_none

BANNED: Final = re.compile(r"(utils?|helpers?|common|base|managers?|.*_(impl|utils|helpers))")


def test_no_name_that_says_nothing():
    found = [
        name_of(path)
        for path in python_files(*SHIPPED, "tests")
        if any(BANNED.fullmatch(part) for part in path.relative_to(ROOT).with_suffix("").parts)
    ]
    require_none(found)


@pytest.mark.parametrize(
    ("name", "is_banned"),
    [("utils", True), ("pool_impl", True), ("manager", True), ("baseline", False), ("ids", False)],
)
def test_banned_names(name, is_banned):
    assert bool(BANNED.fullmatch(name)) == is_banned


def test_every_module_says_what_it_does():
    silent = [
        name_of(path)
        for path in python_files(*SHIPPED)
        if not ast.get_docstring(parsed(path)) and path.read_text().strip()
    ]
    require_none(silent)


def test_nothing_is_printed():
    """Output goes through cli/output.py; everything else logs."""
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in python_files("shardrouter", "migrations")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("print", "breakpoint")
    ]
    require_none(found)


def test_layers_are_the_folders_that_exist():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [contract] = settings["tool"]["importlinter"]["contracts"]
    layers = {name.strip(" ()") for layer in contract["layers"] for name in layer.split("|")}
    assert contract["exhaustive"] is True
    assert layers == set(_parts())


def test_architecture_names_every_folder():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    missing = [
        name_of(path)
        for path in sorted(PACKAGE.rglob("*"))
        if path.is_dir() and any(path.glob("*.py")) and f"{path.name}/" not in text
    ]
    require_none(missing)


def _parts() -> list[str]:
    folders = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    files = [path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"]
    return folders + files


def test_every_folder_of_code_is_a_package():
    """A folder without ``__init__.py`` would be left out of the wheel."""
    folders = {path.parent for path in python_files("shardrouter")}
    require_none([name_of(folder) for folder in folders if not _is_package(folder)])


def _is_package(folder: Path) -> bool:
    return (folder / "__init__.py").exists()
