"""Start the parent: claim the run directory, open the listening sockets, run; tell errors."""

import asyncio
import errno
import logging
import sys
import time
from collections.abc import Callable
from typing import Final

from shardrouter.errors import SettingsError, ShardRouterError
from shardrouter.proxy.host.file_limit import raise_file_limit
from shardrouter.proxy.host.listening_sockets import Listeners, open_listeners
from shardrouter.proxy.host.run_directory import run_directory
from shardrouter.proxy.parent.claim import Claim, claim_directory
from shardrouter.proxy.parent.plan import ParentPlan
from shardrouter.proxy.parent.process import Parent
from shardrouter.proxy.telemetry.log import set_up_logging

logger = logging.getLogger(__name__)

REFUSED: Final = 1  # as documented in docs/reference/cli.md
INTERRUPTED: Final = 130
ORPHANS_SECONDS: Final = 3.0  # for the workers of a parent that died to let go of the port
PAUSE_SECONDS: Final = 0.05


def run_proxy(make_plan: Callable[[], ParentPlan]) -> int:
    """Run a proxy until it ends, and return the exit code. An error is one line and a hint."""
    try:
        plan = make_plan()
        set_up_logging(plan.settings.proxy.log_format)
        raise_file_limit(plan.settings, plan.workers)
        claim = claim_directory(run_directory(plan.settings.proxy))
        listeners = _open_listeners(plan, claim)
        return asyncio.run(_run(plan, claim, listeners))
    except ShardRouterError as error:
        sys.stderr.write(f"error: {error}\n")
        return REFUSED
    except KeyboardInterrupt:  # before the parent handles signals: it waits for a predecessor
        return INTERRUPTED


async def _run(plan: ParentPlan, claim: Claim, listeners: Listeners) -> int:
    return await Parent(plan, claim, listeners).run()


def _open_listeners(plan: ParentPlan, claim: Claim) -> Listeners:
    deadline = time.monotonic() + (ORPHANS_SECONDS if claim.is_after_crash else 0.0)
    while True:
        try:
            return _open_once(plan, claim)
        except SettingsError as error:
            is_taken = isinstance(c := error.__cause__, OSError) and c.errno == errno.EADDRINUSE
            if not is_taken or time.monotonic() > deadline:
                claim.release(is_handed_over=claim.inheritance is not None)
                raise
        time.sleep(PAUSE_SECONDS)


def _open_once(plan: ParentPlan, claim: Claim) -> Listeners:
    proxy = plan.settings.proxy
    if claim.inheritance is None:
        return open_listeners(proxy, plan.workers)
    return open_listeners(proxy, plan.workers, claim.inheritance.tcp, claim.inheritance.unix)
