"""The hashing module at both speeds, whichever of them this process imported."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from shardrouter import topology

HASHING: Final = "shardrouter.topology.hashing"
KEYS: Final = "shardrouter.topology.keys"
_FOLDER: Final = Path(topology.__file__).parent


@dataclass(frozen=True)
class Twin:
    """``hashing`` at one speed, and a ``keys`` that calls it."""

    hashing: Any
    keys: Any


def pure_twin() -> Twin:
    """Plain Python, also where a compiled module is installed."""
    source = str(_FOLDER / "hashing.py")
    return _twin(_load(HASHING, SourceFileLoader(HASHING, source)))


def compiled_twin() -> Twin | None:
    """The compiled module, also in a process of SHARDROUTER_PURE=1; None when none was built."""
    imported = sys.modules[HASHING]
    if not str(imported.__file__).endswith(".py"):
        return _twin(imported)
    for suffix in EXTENSION_SUFFIXES:
        file = _FOLDER / f"hashing{suffix}"
        if file.exists():
            return _twin(_load(HASHING, ExtensionFileLoader(HASHING, str(file))))
    return None


def _twin(hashing: ModuleType) -> Twin:
    with _instead_of_imported(hashing):
        return Twin(hashing, _load(KEYS, SourceFileLoader(KEYS, str(_FOLDER / "keys.py"))))


def _load(name: str, loader: SourceFileLoader | ExtensionFileLoader) -> ModuleType:
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@contextmanager
def _instead_of_imported(hashing: ModuleType) -> Iterator[None]:
    imported = sys.modules[HASHING]
    sys.modules[HASHING] = hashing
    try:
        yield
    finally:
        sys.modules[HASHING] = imported
