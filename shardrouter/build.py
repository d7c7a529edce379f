"""Tell which build of the hot modules runs: compiled by Cython, or plain Python.

The hot modules are ordinary ``.py`` files with a ``.pxd`` beside them (docs/adr/0001). Where a
compiled twin is installed Python imports it first; ``SHARDROUTER_PURE=1`` makes this process
load the ``.py`` source instead, which is how both speeds run under the same tests.
"""

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Final

HOT_MODULES: Final = (
    "shardrouter.topology.hashing",
    "shardrouter.sql.plain",
    "shardrouter.wire.backend_stream",
    "shardrouter.wire.client_stream",
    "shardrouter.proxy.relay.standing",
    "shardrouter.proxy.relay.tally",
    "shardrouter.proxy.relay.pair",
    "shardrouter.proxy.relay.client_talk",
    "shardrouter.proxy.relay.statements",
)


class _SourceOnlyFinder:
    """Meta path finder that answers for the hot modules with their ``.py`` source."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in HOT_MODULES or path is None:
            return None
        found = PathFinder.find_spec(name, path, target)
        if found is None or found.origin is None:
            return None
        source = Path(path[0]) / f"{name.rpartition('.')[2]}.py"
        return importlib.util.spec_from_file_location(
            name, source, loader=SourceFileLoader(name, str(source))
        )


def force_pure_if_asked() -> None:
    """Honour ``SHARDROUTER_PURE=1``. Called once, before any hot module is imported."""
    if is_pure_asked():
        sys.meta_path.insert(0, _SourceOnlyFinder)


def is_pure_asked() -> bool:
    """True when ``SHARDROUTER_PURE`` asks for plain Python."""
    return os.environ.get("SHARDROUTER_PURE", "") not in ("", "0")


def is_compiled() -> bool:
    """True when every hot module runs compiled."""
    specs = (importlib.util.find_spec(name) for name in HOT_MODULES)
    return all(s is not None and not str(s.origin).endswith(".py") for s in specs)


def describe() -> str:
    """One line for ``--version``, logs and the pytest header.

    pip hides the warning of a build without compiler, so this line says it again.
    """
    if is_compiled():
        kind = "compiled"
    elif is_pure_asked():
        kind = "pure Python, as SHARDROUTER_PURE asks"
    else:
        kind = "pure Python: no C compiler or Python headers at install, key hashing is slower"
    return f"shardrouter {version('shardrouter')} ({kind})"
