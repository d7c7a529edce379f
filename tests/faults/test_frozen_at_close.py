"""A router closes at once, and says nothing, while a node of its fleet does not answer."""

import logging
import time

import pytest

from shardrouter import Router
from shardrouter.local import LocalFleet
from tests.plugins.fix_rebalance import MakeBed
from tests.support.eventually import SLOWNESS, eventually

PROMPT_SECONDS = 3.0 * SLOWNESS  # it lingered for 5


@pytest.mark.parametrize("known", [False, True], ids=["just now", "seen to be down"])
def test_a_question_under_way_is_given_up(
    known: bool,
    moving_fleet: LocalFleet,
    make_bed: MakeBed,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """psycopg would cancel it on the server, wait for five seconds, and warn."""
    bed = make_bed(moving_fleet, slots=256)
    replica = moving_fleet.node("s0-r1")
    router = Router.from_config(bed.settings_path)
    monitor = router._core.background.monitor

    def sampled_at(*, is_up: bool) -> float:
        sample = monitor.view.of(bed.topology.shard("s0").replicas[0].id)
        return sample.at if sample is not None and sample.is_up is is_up else 0.0

    try:
        eventually(lambda: sampled_at(is_up=True))
        replica.freeze()
        if known:
            eventually(lambda: sampled_at(is_up=False))
        else:
            before = sampled_at(is_up=True)
            eventually(lambda: time.monotonic() - before > 0.3)  # the next question is asked
    except BaseException:
        router.close()
        raise
    with caplog.at_level(logging.WARNING):
        began = time.monotonic()
        router.close()
        took = time.monotonic() - began
    replica.thaw()
    assert took < PROMPT_SECONDS
    assert [
        r.getMessage()
        for r in caplog.records
        if r.name.startswith(("psycopg", "shardrouter.control.thread"))
    ] == []
