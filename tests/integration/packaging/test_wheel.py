"""Wheels with a compiler, without one, and pure on request. Builds need the package index."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
SOURCES = ("shardrouter", "migrations", "benchmarks", "tests", "demo")
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the sources as git has them: nothing compiled, nothing built."""
    unwanted = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
    root = tmp_path / "checkout"
    for name in SOURCES:
        shutil.copytree(REPOSITORY / name, root / name, ignore=unwanted)
    for name in FILES:
        shutil.copy(REPOSITORY / name, root / name)
    return root


def build(checkout: Path, **environment: str) -> tuple[Path, str]:
    """Return the wheel and what the build said."""
    target = checkout.parent / "wheels"
    shutil.rmtree(target, ignore_errors=True)
    pip = [sys.executable, "-m", "pip"]
    command = [*pip, "wheel", "-v", "--no-deps", "-w", str(target), str(checkout)]
    done = subprocess.run(
        command,
        env=os.environ | {"SHARDROUTER_PURE": "0"} | environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = target.glob("*.whl")
    return wheel, done.stdout + done.stderr


def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def suffixes_of_hashing(wheel: Path) -> set[str]:
    hot = (Path(name) for name in names(wheel) if "/hashing." in name)
    return {file.suffix for file in hot}


def answer_of(wheel: Path, folder: Path) -> str:
    """What the wheel's hashing says of the key 42, and the kind of file it is."""
    zipfile.ZipFile(wheel).extractall(folder)
    code = "from shardrouter.topology import hashing as h; print(h.int_slot(42, 4096), h.__file__)"
    slot, file = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(folder), "SHARDROUTER_PURE": "0"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout.split()
    assert Path(file).is_relative_to(folder)
    return f"{slot} {Path(file).suffix}"


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_a_wheel_holds_what_runs_and_nothing_else(checkout: Path, tmp_path: Path) -> None:
    wheel, said = build(checkout)
    assert "WARNING: shardrouter" not in said
    assert suffixes_of_hashing(wheel) >= {".py", ".pxd"}
    assert suffixes_of_hashing(wheel) & {".so", ".pyd"}
    assert names(wheel) >= {
        "shardrouter/py.typed",
        "shardrouter/migrations/env.py",
        "shardrouter/migrations/script.py.mako",
        "shardrouter/migrations/versions/r0001_topology.py",
    }
    packages = {name.split("/")[0] for name in names(wheel)}
    assert packages == {"shardrouter", next(p for p in packages if p.endswith(".dist-info"))}
    assert not any(name.endswith(".c") for name in names(wheel))
    assert answer_of(wheel, tmp_path / "unpacked") in ("2658 .so", "2658 .pyd")


def test_without_compiler_the_build_warns_once_and_succeeds(checkout: Path, tmp_path: Path) -> None:
    wheel, said = build(checkout, CC="/bin/false")
    assert said.count("WARNING: shardrouter will run as pure Python") == 1
    assert suffixes_of_hashing(wheel) == {".py", ".pxd"}
    assert answer_of(wheel, tmp_path / "unpacked") == "2658 .py"


def test_pure_on_request(checkout: Path) -> None:
    wheel, said = build(checkout, SHARDROUTER_PURE="1")
    assert "WARNING: shardrouter" not in said
    assert wheel.name.endswith("-py3-none-any.whl")
    assert suffixes_of_hashing(wheel) == {".py", ".pxd"}
