"""Ask all shards at once while slots move: no row is missed, none is counted twice."""

import itertools
import time
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import func, select

from shardrouter import Router
from shardrouter.errors import ShardRouterError
from tests.support.ledger import INITIAL_BALANCE, Failure, Kind, Ledger
from tests.support.ledger_tables import LedgerAccount
from tests.support.ledger_work import sqlstate_of

QUERY: Final[Any] = select(func.count(), func.sum(LedgerAccount.balance))


class GatherWatch:
    """Counts the accounts and adds up their balances, on primaries and replicas in turn.

    Transfers stay within a slot, so both figures are the same in every snapshot of every shard.
    """

    def __init__(self, router: Router, ledger: Ledger) -> None:
        self._router = router
        self._ledger = ledger
        self._reads: Iterator[str] = itertools.cycle(("primary", "replica"))

    def __call__(self) -> list[str]:
        accounts = len(self._ledger.accounts)
        expected = (accounts, accounts * INITIAL_BALANCE)
        read, began = next(self._reads), time.monotonic()
        try:
            found: Any = self._router.gather(QUERY, read=read).one()
        except ShardRouterError as error:
            now = time.monotonic()
            self._ledger.failures.append(
                Failure(now, now - began, "gather", Kind.READ, sqlstate_of(error), str(error))
            )
            return []
        told = (int(found[0]), int(found[1]))
        if told == expected:
            return []
        epoch = self._router.topology.epoch
        return [f"gathered {told} by read={read} about epoch {epoch}, not {expected}"]
