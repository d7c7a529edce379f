"""What came of one call on several shards: each shard's value or its error, none left out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy.exc import DBAPIError

from shardrouter.errors import ScatterFailed, ShardRouterError
from shardrouter.topology import ShardId

T = TypeVar("T")

FanOut = Callable[[list[Callable[[], T]]], list[T | Exception]]
"""Runs calls side by side; returns each one's value or exception, in order."""


@dataclass(frozen=True, slots=True)
class ShardOutcome(Generic[T]):
    """What one shard answered: a value, or the error that kept it from answering."""

    shard: ShardId
    value: T | None = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class ShardReport(Generic[T]):
    """The outcomes of all shards, in the order of the topology."""

    outcomes: tuple[ShardOutcome[T], ...]

    def __iter__(self) -> Iterator[ShardOutcome[T]]:
        return iter(self.outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)

    @property
    def failed(self) -> tuple[ShardOutcome[T], ...]:
        """The shards that did not answer."""
        return tuple(outcome for outcome in self.outcomes if outcome.error is not None)

    @property
    def values(self) -> dict[ShardId, T]:
        """The values of the shards that answered."""
        return {o.shard: o.value for o in self.outcomes if o.error is None}  # type: ignore[misc]

    def raise_if_failed(self) -> None:
        """Raise ScatterFailed, naming each shard and its error, unless all shards answered."""
        failed = self.failed
        if failed:
            told = "; ".join(f"{o.shard}: {_told(o.error)}" for o in failed)
            raise ScatterFailed(
                f"{len(failed)} of {len(self.outcomes)} shards failed: {told}",
                hint="see how the shards are with `shardrouter status`, then repeat the call",
            ) from failed[0].error


def map_shards(
    shards: Sequence[ShardId], call: Callable[[ShardId], T], fan_out: FanOut[T]
) -> ShardReport[T]:
    """Run a call for every shard, side by side; report what came of each."""
    answers = fan_out([_Call(call, shard) for shard in shards])
    return ShardReport(
        tuple(
            ShardOutcome(shard, error=answer)
            if isinstance(answer, Exception)
            else ShardOutcome(shard, value=answer)
            for shard, answer in zip(shards, answers, strict=True)
        )
    )


@dataclass(frozen=True, slots=True)
class _Call(Generic[T]):
    call: Callable[[ShardId], T]
    shard: ShardId

    def __call__(self) -> T:
        return self.call(self.shard)


def _told(error: Exception | None) -> str:
    if isinstance(error, ShardRouterError):
        return f"{type(error).__name__}: {error.message}"
    cause = error.orig if isinstance(error, DBAPIError) else error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__
