"""An asyncio task is cancelled while its transaction commits: all of it, or nothing."""

import asyncio

import pytest
from sqlalchemy import update

from shardrouter import AsyncRouter
from shardrouter.catalog import TransactionJournal
from shardrouter.control import resolve_once
from shardrouter.topology import ShardId
from tests.support.cluster import Cluster
from tests.support.transfers import Account, Ledger, with_steps


@pytest.mark.parametrize("step", ["begun", "prepared s0", "all prepared", "decided", "settled s0"])
async def test_cancelled_at_a_step(
    step: str, cluster: Cluster, accounts: tuple[int, int, int, int], ledger: Ledger
) -> None:
    a, _, b, _ = accounts
    async with AsyncRouter.from_config(cluster.settings_path) as router:

        def cancel(reached: str) -> None:
            if reached == step:
                task.cancel()

        async def move() -> None:
            async with router.transaction(keys=[a, b]) as tx:
                for key, change in ((a, -10), (b, 10)):
                    await tx[key].execute(
                        update(Account)
                        .where(Account.id == key)
                        .values(balance=Account.balance + change)
                    )

        with_steps(router, cancel)
        task = asyncio.get_running_loop().create_task(move())
        with pytest.raises(asyncio.CancelledError):
            await task
        background = router._core.background
        journal = TransactionJournal(background.catalog)
        shards = [ShardId("s0"), ShardId("s1")]
        await asyncio.to_thread(resolve_once, journal, background.connect_primary, 0.0, shards)
        assert ledger.prepared() == []
        [(decision, is_finished, damage)] = ledger.journal()
        assert (is_finished, damage) == (True, None)
        moved = 10 if decision == "commit" else 0
        for key, expected in ((a, 100 - moved), (b, 100 + moved)):
            async with router.session(key=key, read="primary") as session:
                account = await session.get(Account, key)
                assert account is not None
                assert account.balance == expected
