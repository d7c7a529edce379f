"""Load a package's public names on first use (PEP 562).

The CLI, the pytest plugin and the proxy's workers start in a fraction of the time when they do not
import what they do not use: alembic, SQLAlchemy's ORM.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, tuple[str, ...]]) -> Callable[[str], Any]:
    """Return a module ``__getattr__`` that finds each name in the module that ``homes`` gives.

    A name must not be that of a module of the package: which of the two it means would depend on
    what was imported before.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def find(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home_of[name]), name)
        setattr(sys.modules[package], name, value)  # the next time it is just there
        return value

    return find
