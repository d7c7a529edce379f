"""Each test begins with a freshness token of its own: positions of another fleet are never met."""

from collections.abc import Iterator

import pytest

from shardrouter.client.causal import causal_scope
from shardrouter.routing import Token


@pytest.fixture(autouse=True)
def fresh_scope() -> Iterator[None]:
    with causal_scope(Token()):
        yield
