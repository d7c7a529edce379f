"""docs/reference/cli.md names every command, every option and every exit code."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from shardrouter.cli.main import app
from shardrouter.cli.output import ExitCode

PAGE = (Path(__file__).parents[3] / "docs/reference/cli.md").read_text()


def commands(command: Any, name: str = "shardrouter") -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for word, inner in command.commands.items():
            yield from commands(inner, f"{name} {word}")
    else:
        yield name, command


COMMANDS = dict(commands(typer.main.get_command(app)))


def section(name: str) -> str:
    _, found, rest = PAGE.partition(f"\n## `{name}`\n")
    assert found, f"no section of {name}"
    return rest.partition("\n## ")[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_usage_names_every_option(name: str) -> None:
    usage = section(name).partition("```text\n")[2].partition("```")[0]
    assert usage.startswith(name)
    given = {
        next((o for o in parameter.opts if o.startswith("--")), parameter.opts[0])
        for parameter in COMMANDS[name].params
        if parameter.param_type_name == "option"
    } - {"--help"}
    documented = set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", usage))
    assert given == documented


def test_no_command_that_is_gone() -> None:
    assert set(re.findall(r"^## `(shardrouter .*)`$", PAGE, re.MULTILINE)) == set(COMMANDS)


def test_exit_codes() -> None:
    table = section_of_codes()
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == {*ExitCode}


def section_of_codes() -> str:
    return PAGE.partition("## Exit codes")[2].partition("\n## ")[0]
