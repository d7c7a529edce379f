"""What the build says of itself, and that the environment can ask for plain Python."""

import os
import subprocess
import sys

import pytest

from shardrouter.build import HOT_MODULES, describe, is_compiled
from tests.support.twins import compiled_twin

REPORT = """
from importlib import import_module
from shardrouter.build import HOT_MODULES, describe, is_compiled
print(describe())
print(is_compiled())
print(*[import_module(name).__file__ for name in HOT_MODULES])
"""


def report(pure: str) -> list[str]:
    """What a new process with that SHARDROUTER_PURE says."""
    return subprocess.run(
        [sys.executable, "-c", REPORT],
        env=os.environ | {"SHARDROUTER_PURE": pure},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout.splitlines()


def test_the_environment_forces_plain_python() -> None:
    line, compiled, files = report("1")
    assert line.endswith("(pure Python, as SHARDROUTER_PURE asks)")
    assert compiled == "False"
    assert all(file.endswith(".py") for file in files.split())


@pytest.mark.parametrize("value", ["", "0"])
def test_otherwise_the_compiled_modules_run(value: str) -> None:
    line, compiled, files = report(value)
    if compiled_twin() is None:
        assert "pure Python: no C compiler" in line
        assert compiled == "False"
    else:
        assert line.endswith("(compiled)")
        assert compiled == "True"
        assert not any(file.endswith(".py") for file in files.split())


def test_this_process_tells_what_it_runs() -> None:
    modules = [sys.modules[name] for name in HOT_MODULES if name in sys.modules]
    assert modules
    assert is_compiled() == all(not str(m.__file__).endswith(".py") for m in modules)
    assert ("(compiled)" in describe()) == is_compiled()
