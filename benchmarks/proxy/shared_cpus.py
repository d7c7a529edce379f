"""Throughput where nothing has a CPU of its own: server, clients and proxy on all of them.

With a CPU for the proxy alone the server limits everybody, and the rate hardly tells proxies apart.
Here whatever a proxy takes is lost to the server: the harder case, and that of a small machine.

Hypothesis: a query takes some 35 us of server and client, so that a fifth more in the proxy is a
tenth less throughput.
"""

from typing import Final

from benchmarks.proxy.doors import DIRECT
from benchmarks.proxy.pgbench import Load
from benchmarks.proxy.query_cost import (
    SECONDS,
    TIMED_CLIENTS,
    check_answers,
    measure_load,
    rate_rows,
)
from benchmarks.proxy.stage import open_stage
from benchmarks.rows import Row
from benchmarks.suite import Effort

LOAD: Final = Load("simple", TIMED_CLIENTS, SECONDS, is_logged=True)


def run(effort: Effort) -> list[Row]:
    """Measure every door."""
    with open_stage(has_own_cpu=False) as stage, stage.open_all() as proxies:
        doors = {DIRECT: stage.direct, **proxies}
        check_answers(doors)
        compared = measure_load(stage, doors, LOAD, effort)
    return rate_rows(LOAD, compared, ", shared CPUs")
