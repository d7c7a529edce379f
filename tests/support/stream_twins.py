"""The two streams of the proxy at both speeds, whichever of them this process imported."""

import importlib
import importlib.util
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, SourceFileLoader
from pathlib import Path
from typing import Any, Final

from shardrouter import wire

BACKEND: Final = "shardrouter.wire.backend_stream"
CLIENT: Final = "shardrouter.wire.client_stream"
_FOLDER: Final = Path(wire.__file__).parent


@dataclass(frozen=True)
class StreamTwin:
    """Classes of one speed."""

    backend_stream: Any
    client_stream: Any


def pure_streams() -> StreamTwin:
    """Plain Python, also where compiled modules are installed."""
    return StreamTwin(_pure(BACKEND).BackendStream, _pure(CLIENT).ClientStream)


def compiled_streams() -> StreamTwin | None:
    """The compiled modules; None when none were built."""
    backend, client = _compiled(BACKEND), _compiled(CLIENT)
    if backend is None or client is None:
        return None
    return StreamTwin(backend.BackendStream, client.ClientStream)


def _pure(name: str) -> Any:
    path = _FOLDER / f"{name.rpartition('.')[2]}.py"
    return _load(name, SourceFileLoader(name, str(path)))


def _compiled(name: str) -> Any:
    imported = importlib.import_module(name)
    if not str(imported.__file__).endswith(".py"):
        return imported
    for suffix in EXTENSION_SUFFIXES:
        file = _FOLDER / f"{name.rpartition('.')[2]}{suffix}"
        if file.exists():
            return _load(name, ExtensionFileLoader(name, str(file)))
    return None


def _load(name: str, loader: SourceFileLoader | ExtensionFileLoader) -> Any:
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
