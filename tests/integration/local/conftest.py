"""Directories that an unprivileged user can reach, unlike pytest's own."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shardrouter.local import LocalFleet


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory everybody may pass; a fleet in its ``.shardrouter`` is removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="shardrouter-test-")).resolve()
    path.chmod(0o711)
    yield path
    LocalFleet.discard(path / ".shardrouter", finished=True)
    shutil.rmtree(path)
