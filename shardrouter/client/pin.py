"""The lock against touching a second key inside one unit of work."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from shardrouter.errors import ShardSwapError


class _Pin:
    """The first place that was touched inside a pinned block."""

    __slots__ = ("place",)

    def __init__(self) -> None:
        self.place: tuple[str, Any] | None = None


_pin: ContextVar[_Pin | None] = ContextVar("shardrouter_pin", default=None)


@contextmanager
def pinned() -> Iterator[None]:
    """Within the block the first key touched is the only one allowed."""
    if _pin.get() is not None:
        yield  # already pinned by an outer block, whose key stays the one
        return
    reset = _pin.set(_Pin())
    try:
        yield
    finally:
        _pin.reset(reset)


def check_pin(place: tuple[str, Any]) -> None:
    """Raise ShardSwapError when the context is pinned to another place."""
    pin = _pin.get()
    if pin is None:
        return
    if pin.place is None:
        pin.place = place
    elif pin.place != place:
        raise ShardSwapError(
            f"{place[0]} {place[1]!r} inside a block pinned to {pin.place[0]} {pin.place[1]!r}",
            hint="leave router.pin() first, or use router.transaction(keys=[...])",
        )
