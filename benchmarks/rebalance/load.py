"""Put load on a fleet until standard input ends: ``python -m benchmarks.rebalance.load ORDER``.

A process of its own, as the clients of a fleet are: it shares no interpreter with the mover. Each
client is a thread with a door. Paced clients send at fixed moments, whatever the answers take, so
that a wait is counted for all who would have come in it.
"""

import json
import random
import sys
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.rebalance.doors import Door, LibraryDoor, ProxyDoor
from benchmarks.rebalance.transactions import Notes, Transaction
from shardrouter import Router, ShardRouterError
from shardrouter.topology import Slot, key_slot

READY: Final = "ready"
FAILURES_KEPT: Final = 5  # of each client
DELTAS: Final = (-5000, 5000)


@dataclass(frozen=True, slots=True)
class Order:
    """What a load is to do."""

    settings: str
    """The settings file of the fleet."""

    notes: str
    """Where the notes go at the end."""

    accounts: int
    moving_slots: tuple[int, ...]
    proxy_dsn: str | None = None
    library_clients: int = 2
    proxy_clients: int = 0
    moving_share: float = 0.5
    """The part of the transactions that goes to accounts that move."""

    is_single: bool = False
    """One UPDATE a transaction instead of all that pgbench does."""

    per_second: float = 0.0
    """Of all clients together; 0: as many as get answers."""

    seed: int = 2013

    def to_text(self) -> str:
        """Return the text of the file."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the order of its text."""
        item: dict[str, Any] = json.loads(text)
        return cls(**{**item, "moving_slots": tuple(item["moving_slots"])})


class Client:
    """One thread's work."""

    def __init__(
        self, number: int, door: Door, pools: Sequence[Sequence[int]], order: Order
    ) -> None:
        self._failed = self._added = 0
        self._failures: list[str] = []
        # Numbers, not objects: when there are many, Python's garbage collector stops every thread
        # for a tenth of a second, the router's too.
        self._taken = array("d")
        self._number = number
        self._door = door
        self._still, self._moving = pools
        self._share = order.moving_share if self._moving else 0.0
        self._is_single = order.is_single
        self._rng = random.Random(order.seed + number)
        clients = order.library_clients + order.proxy_clients
        self._every = clients / order.per_second if order.per_second else 0.0

    def run(self, is_over: threading.Event) -> None:
        """Work until told to end."""
        due = time.monotonic()
        count = 0
        while not is_over.wait(max(due - time.monotonic(), 0.0)):
            count += 1
            self._transact(due, count)
            due = due + self._every if self._every else time.monotonic()

    def _transact(self, due: float, count: int) -> None:
        is_moving = self._rng.random() < self._share
        aid = self._rng.choice(self._moving if is_moving else self._still)
        delta = self._rng.randint(*DELTAS)
        try:
            if self._is_single:
                self._door.add(aid, delta)
            else:
                self._door.transact(aid, self._number << 40 | count, delta)
        except (ShardRouterError, SQLAlchemyError, psycopg.Error) as error:
            self._failed += 1
            if len(self._failures) < FAILURES_KEPT:
                self._failures.append(f"account {aid}: {error!r}")
            return
        self._taken.extend((due, time.monotonic() - due, is_moving))
        self._added += delta

    def notes(self) -> Notes:
        """Return what was done, when the thread has ended."""
        of_one = [iter(self._taken)] * 3
        done = [
            Transaction(due, took, bool(moving)) for due, took, moving in zip(*of_one, strict=True)
        ]
        return Notes(done, self._failed, self._failures, self._added)


def run(order: Order, wait: Callable[[], object]) -> Notes:
    """Run the clients until ``wait`` returns; return what all have done."""
    with Router.from_config(order.settings) as router, ExitStack() as stack:
        pools = _pools(order, router.topology.slots)
        doors: list[Door] = [LibraryDoor(router) for _ in range(order.library_clients)]
        for _ in range(order.proxy_clients):
            door = ProxyDoor(str(order.proxy_dsn))
            stack.callback(door.close)
            doors.append(door)
        clients = [Client(number, door, pools, order) for number, door in enumerate(doors)]
        is_over = threading.Event()
        threads = [threading.Thread(target=client.run, args=(is_over,)) for client in clients]
        for thread in threads:
            thread.start()
        try:
            wait()
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
    notes = Notes()
    notes.join(client.notes() for client in clients)
    return notes


def _pools(order: Order, slots: int) -> tuple[list[int], list[int]]:
    """Return the accounts that stay and those that move."""
    moving_slots = {Slot(slot) for slot in order.moving_slots}
    pools: tuple[list[int], list[int]] = ([], [])
    for aid in range(1, order.accounts + 1):
        pools[key_slot(aid, slots) in moving_slots].append(aid)
    return pools


def main() -> None:
    """Run the command line."""
    order = Order.of(Path(sys.argv[1]).read_text())

    def wait() -> None:
        print(READY, flush=True)
        sys.stdin.read()

    Path(order.notes).write_text(json.dumps(run(order, wait).to_json()))


if __name__ == "__main__":
    main()
