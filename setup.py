"""Build the hot modules with Cython where a compiler is; everything else is in pyproject.toml."""

import os
import sys

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

HOT_MODULES = ("shardrouter.topology.hashing",)
PURE = os.environ.get("SHARDROUTER_PURE", "") not in ("", "0")


class OptionalBuildExt(build_ext):
    """Fall back to pure Python with one clear warning; never fail the install."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            self._warn(error)

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        print(  # noqa: T201
            "WARNING: shardrouter runs as pure Python (same answers, key hashing about 5 times "
            f"slower): the hot modules could not be compiled: {error}",
            file=sys.stderr,
        )

    def copy_extensions_to_source(self) -> None:
        # An editable install copies what was built; skip what could not be.
        self.extensions = [
            e for e in self.extensions if os.path.exists(self.get_ext_fullpath(e.name))
        ]
        super().copy_extensions_to_source()


def extensions() -> list[Extension]:
    if PURE:
        return []
    from Cython.Build import cythonize

    return cythonize(
        [Extension(name, [name.replace(".", "/") + ".py"]) for name in HOT_MODULES],
        language_level=3,
        build_dir="build",
    )


setup(
    packages=[
        *find_packages(include=["shardrouter", "shardrouter.*"]),
        "shardrouter.migrations",
        "shardrouter.migrations.versions",
    ],
    ext_modules=extensions(),
    cmdclass={"build_ext": OptionalBuildExt},
)
