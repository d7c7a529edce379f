"""No client ever gets what was meant for another, whatever happens to the others meanwhile.

Each question carries a nonce, and its answer must. Some clients cancel, stop in the middle of a
message, reset the connection, leave transactions open, do not read, or wait in vain for a backend.
"""

import asyncio
import os
import random
import sys
import time

import pytest

from tests.plugins.fix_raw import ProxyLike
from tests.support.nonce_client import NonceClient, Tally

SECONDS = 6.0
CLIENTS = 150
LONG_RUN_QUERIES = 1_000_000
LONG_RUN_SECONDS = 3600.0


@pytest.mark.timeout(120)
async def test_answers_are_for_who_asked(proxy_like: ProxyLike):
    tally = await _storm(proxy_like, CLIENTS, queries=1_000_000_000, seconds=SECONDS)
    assert tally.answered > 2_000
    _check_variety(tally)


@pytest.mark.slow
@pytest.mark.timeout(LONG_RUN_SECONDS)
async def test_answers_of_a_million_queries(proxy_like: ProxyLike):
    tally = await _storm(proxy_like, 200, queries=LONG_RUN_QUERIES, seconds=LONG_RUN_SECONDS)
    assert tally.answered >= LONG_RUN_QUERIES
    _check_variety(tally)


async def _storm(proxy_like: ProxyLike, clients: int, queries: int, seconds: float) -> Tally:
    proxy = proxy_like(
        proxy_pool={
            "size": 2,
            "checkout_timeout_seconds": 0.05,
            "query_timeout_seconds": 0.3,
            "transaction_idle_seconds": 0.5,
            "prepared_statements": 20,
        }
    )
    seed = int(os.environ.get("SHARDROUTER_NONCE_SEED", str(random.randrange(2**32))))
    sys.stdout.write(f"seed {seed}\n")
    tally = Tally(queries, time.monotonic() + seconds)
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            client = NonceClient(proxy, number, random.Random(f"{seed} {number}"), tally)
            group.create_task(client.run())
    sys.stdout.write(f"{tally}\n")
    log = proxy.log
    assert "Traceback" not in log, log[-4000:]
    assert "backend_protocol_error" not in log
    return tally


def _check_variety(tally: Tally) -> None:
    """A storm in which nothing ever went wrong proves little."""
    assert tally.cancels > 20
    assert tally.resets > 20
    assert tally.errors["53300"] > 20
    assert tally.errors["57014"] > 0
    assert tally.errors["22012"] > 20
