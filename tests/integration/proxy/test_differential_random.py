"""Random talks: what Postgres answers, the proxy answers."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cluster import Cluster
from tests.support.differential import Differential
from tests.support.proxy import ProxyProcess
from tests.support.random_talks import SCRIPTS
from tests.support.wire_script import Pace, Turn

PACES = st.sampled_from(Pace)


@pytest.fixture(scope="module")
def differential(
    proxy_cluster: Cluster, proxy: ProxyProcess, session_proxy: ProxyProcess
) -> Iterator[Differential]:
    made = Differential(proxy_cluster, {"transaction": proxy, "session": session_proxy})
    yield made
    made.close()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(script=SCRIPTS, pace=PACES)
def test_random_talks(differential: Differential, script: Sequence[Turn], pace: Pace):
    differential.check(script, pace)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=5000, deadline=None)
@given(script=SCRIPTS, pace=PACES)
def test_many_random_talks(differential: Differential, script: Sequence[Turn], pace: Pace):
    differential.check(script, pace)
