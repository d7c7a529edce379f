"""Processes that transfer money and kill themselves on the way, as a crash would."""

import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from threading import Lock

from sqlalchemy.exc import DBAPIError

from shardrouter import Router
from shardrouter.errors import ShardRouterError
from tests.support.transfers import transfer, with_steps

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])  # children start in milliseconds

BEFORE_COMMIT = "open"  # the step before the first one that the router tells


def start(target: Callable[..., None], *arguments: object) -> ForkServerProcess:
    """Start a process that runs the function."""
    process = _context.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def die() -> None:
    """End this process on the spot: no handler, no ``finally``, no rollback."""
    os.kill(os.getpid(), signal.SIGKILL)


def transfer_until(settings: Path, step: str, source: int, target: int) -> None:
    """Transfer once, die at the step."""
    with Router.from_config(settings) as router:
        with_steps(router, lambda reached: die() if reached == step else None)
        if step == BEFORE_COMMIT:
            with router.transaction(keys=[source, target]) as tx:
                for key in (source, target):
                    tx[key].connection().exec_driver_sql("UPDATE account SET balance = 0")
                die()
        transfer(router, 1, source, target, 10)


def transfer_many(
    settings: Path,
    seed: int,
    numbers: list[int],
    keys: tuple[list[int], list[int]],
    steps_to_live: int,
    acks: Path,
) -> None:
    """Run the numbered transfers side by side; die after so many steps of all of them.

    keys: of one shard and of the other; every transfer goes from one to the other, either way.
    The number of each transfer that was acknowledged is appended to ``acks``.
    """
    rng = random.Random(seed)
    pairs = [rng.sample([rng.choice(keys[0]), rng.choice(keys[1])], 2) for _ in numbers]
    left, lock = [steps_to_live], Lock()

    def step(reached: str) -> None:
        with lock:
            left[0] -= 1
            if left[0] == 0:
                die()

    file = os.open(acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def run(number: int, pair: list[int]) -> None:
        try:
            transfer(router, number, *pair)
        except (ShardRouterError, DBAPIError):
            return  # refused: it must not have happened, or it is in doubt
        os.write(file, f"{number}\n".encode())

    with Router.from_config(settings) as router, ThreadPoolExecutor(len(numbers)) as pool:
        with_steps(router, step)
        list(pool.map(run, numbers, pairs))
