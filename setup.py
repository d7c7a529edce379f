"""Build the hot modules with Cython where a compiler is; everything else is in pyproject.toml.

SHARDROUTER_PURE=1 builds without them. Why and how: docs/adr/0001-compiled-hot-modules.md.
"""

import os
import runpy
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# Read as a file: importing the package would need its dependencies, which a build has not.
HOT_MODULES = runpy.run_path(str(ROOT / "shardrouter" / "build.py"))["HOT_MODULES"]
PURE = os.environ.get("SHARDROUTER_PURE", "") not in ("", "0")


class FreshBuildPy(build_py):
    """Remove compiled modules of an earlier editable install, which Python would still prefer."""

    def run(self) -> None:
        if self.editable_mode:
            for name in HOT_MODULES:
                module = ROOT.joinpath(*name.split("."))
                for leftover in module.parent.glob(f"{module.name}.*"):
                    if leftover.suffix in (".so", ".pyd"):
                        leftover.unlink()
        super().run()


class OptionalBuildExt(build_ext):
    """Fall back to pure Python with one clear warning; never fail the install."""

    has_failed = False

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            self._give_up(error)

    def build_extension(self, ext: Extension) -> None:
        if self.has_failed:
            return
        try:
            super().build_extension(ext)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, reason: Exception) -> None:
        """All or none: the hot modules are made for each other. Removes what was built before."""
        if not self.has_failed:
            warn(reason)
        self.has_failed = True
        for ext in self.extensions:
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)


def warn(reason: object) -> None:
    print(  # noqa: T201
        "WARNING: shardrouter will run as pure Python (same answers, key hashing about 20 times "
        f"slower): the hot modules could not be compiled: {reason}",
        file=sys.stderr,
    )


def extensions() -> list[Extension]:
    if PURE:
        return []
    try:
        from Cython.Build import cythonize

        modules = cythonize(
            [Extension(name, [f"{name.replace('.', '/')}.py"]) for name in HOT_MODULES],
            language_level=3,
            build_dir="build/cython",
        )
    except Exception as error:
        warn(error)
        return []
    for module in modules:
        module.optional = True  # an editable install then does not miss what was not built
    return modules


setup(
    packages=[
        *find_packages(include=["shardrouter", "shardrouter.*"]),
        "shardrouter.migrations",
        "shardrouter.migrations.versions",
    ],
    ext_modules=extensions(),
    cmdclass={"build_py": FreshBuildPy, "build_ext": OptionalBuildExt},
)
