"""The fixture that runs a test on both speeds of the hot modules."""

import pytest

from tests.support.stream_twins import StreamTwin, compiled_streams, pure_streams
from tests.support.twins import Twin, compiled_twin, pure_twin


@pytest.fixture(scope="session", params=["pure", "compiled"])
def twin(request: pytest.FixtureRequest) -> Twin:
    """Hashing and keys as plain Python, then compiled; skipped where nothing was compiled."""
    found = pure_twin() if request.param == "pure" else compiled_twin()
    if found is None:
        pytest.skip("no compiled module: it was installed without C compiler, or as pure Python")
    return found


@pytest.fixture(scope="session", params=["pure", "compiled"])
def streams(request: pytest.FixtureRequest) -> StreamTwin:
    """The streams of the proxy as plain Python, then compiled; skipped as ``twin`` is."""
    found = pure_streams() if request.param == "pure" else compiled_streams()
    if found is None:
        pytest.skip("no compiled module: it was installed without C compiler, or as pure Python")
    return found
