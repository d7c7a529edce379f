"""What Postgres answers, the proxy answers: script by script, at once, by turns and by bytes."""

from collections.abc import Iterator, Sequence

import pytest

from tests.support.cluster import Cluster
from tests.support.differential import Differential
from tests.support.proxy import ProxyProcess
from tests.support.wire_script import Pace, Turn
from tests.support.wire_talks import TALKS

LONGEST_BY_BYTES = 20_000


@pytest.fixture(scope="module")
def differential(
    proxy_cluster: Cluster, proxy: ProxyProcess, session_proxy: ProxyProcess
) -> Iterator[Differential]:
    made = Differential(proxy_cluster, {"transaction": proxy, "session": session_proxy})
    yield made
    made.close()


@pytest.mark.parametrize("pace", Pace)
@pytest.mark.parametrize("script", TALKS.values(), ids=TALKS)
def test_answers_are_those_of_postgres(
    differential: Differential, script: Sequence[Turn], pace: Pace
):
    if pace is Pace.BY_BYTES and sum(len(turn.data) for turn in script) > LONGEST_BY_BYTES:
        pace = Pace.AT_ONCE
    differential.check(script, pace)
