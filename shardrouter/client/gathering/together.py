"""Ask all shards one query from one thread: send to all, then fetch from each.

Threads would spend more on taking turns at Python's lock than a short query takes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from shardrouter.client.gathering.ask import ShardRows, settings_of
from shardrouter.client.outcomes import FanOut, ShardOutcome, ShardReport
from shardrouter.postgres import Asked, WaitReady
from shardrouter.topology import ShardId

T = TypeVar("T")

Connect = Callable[[ShardId], AbstractContextManager[Connection]]

Question = tuple[str, Sequence[Any]]
"""A query with parameters ``$1``, ``$2`` ..., and their values."""

PATIENCE_SECONDS: Final = 0.01  # then the other connections are made side by side


def ask_together(
    shards: Sequence[ShardId],
    questions: Sequence[Question],
    connect: Connect,
    fan_out: FanOut[Any],
    wait_ready: WaitReady,
) -> ShardReport[ShardRows]:
    """Return what each shard answered to its question.

    When a connection cannot be had, none of the shards is asked.
    """
    with ExitStack() as stack:
        connections = _check_out(stack, [connect(shard) for shard in shards], fan_out)
        if any(isinstance(connection, Exception) for connection in connections):
            return _report(shards, connections)
        asked = [
            _outcome(_ask, connection, question, wait_ready)
            for connection, question in zip(connections, questions, strict=True)
        ]
        return _report(
            shards,
            [
                answer if isinstance(answer, Exception) else _outcome(_fetch, answer, connection)
                for answer, connection in zip(asked, connections, strict=True)
            ],
        )


def _check_out(
    stack: ExitStack, lent: Sequence[AbstractContextManager[Connection]], fan_out: FanOut[Any]
) -> list[Any]:
    """Take the connections one by one, which is quick when pools have them; else side by side."""
    started = time.monotonic()
    taken: list[Any] = []
    for context in lent:
        if time.monotonic() - started > PATIENCE_SECONDS:
            break
        taken.append(_outcome(stack.enter_context, context))
    rest = lent[len(taken) :]
    if rest:
        entered = fan_out([context.__enter__ for context in rest])
        for context, connection in zip(rest, entered, strict=True):
            if not isinstance(connection, Exception):
                stack.push(context)
        taken.extend(entered)
    return taken


def _ask(connection: Connection, question: Question, wait_ready: WaitReady) -> Asked:
    return Asked(connection.connection.driver_connection, *question, wait_ready)


def _fetch(asked: Asked, connection: Connection) -> ShardRows:
    answer = asked.fetch()
    return ShardRows(answer.rows, answer.oids, settings_of(connection), connection.dialect)


def _report(shards: Sequence[ShardId], found: Sequence[Any]) -> ShardReport[Any]:
    """Return a report; a shard that was not asked because of another counts as answered."""
    return ShardReport(
        tuple(
            ShardOutcome(shard, error=value)
            if isinstance(value, Exception)
            else ShardOutcome(shard, value=value)
            for shard, value in zip(shards, found, strict=True)
        )
    )


def _outcome(call: Callable[..., T], *arguments: Any) -> T | Exception:
    try:
        return call(*arguments)
    except Exception as error:  # told with its shard
        return error


def batches(shards: Sequence[ShardId], size: int) -> Iterator[Sequence[ShardId]]:
    """Yield the shards in groups of at most ``size``."""
    for start in range(0, len(shards), size):
        yield shards[start : start + size]
