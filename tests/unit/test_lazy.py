"""Packages whose names load on first use: all are found, and what is not used is not loaded."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

PACKAGES = ("shardrouter", "shardrouter.client", "shardrouter.control", "shardrouter.sql")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_found(package: str) -> None:
    module = import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is getattr(module, name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        getattr(module, "nothing")  # noqa: B009


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_is_that_of_a_module(package: str) -> None:
    module = import_module(package)
    assert module.__file__ is not None
    folder = Path(module.__file__).parent
    modules = {path.stem for path in folder.iterdir()}
    assert not modules & set(module.__all__)


@pytest.mark.parametrize(
    ("module", "unused"),
    [
        ("shardrouter.proxy.worker", ("alembic", "sqlalchemy.orm", "typer", "rich", "starlette")),
        ("shardrouter.proxy.parent.process", ("alembic", "sqlalchemy", "typer", "rich")),
        ("shardrouter.cli", ("alembic", "sqlalchemy", "psycopg", "pydantic")),
    ],
)
def test_what_is_not_used_is_not_loaded(module: str, unused: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & set(unused)
