"""Carry moves out in the test's own process, dying on the way or doing something there."""

from collections.abc import Callable, Mapping
from typing import Any

from shardrouter.catalog import Move
from shardrouter.config import load_settings
from shardrouter.rebalance.failpoints import Failpoint, FailpointReached, Failpoints
from shardrouter.rebalance.mover import Mover, Stops
from shardrouter.topology import Wish
from tests.support.moving_bed import MovingBed

TO_THE_END = Stops(wait_soak=True)


class Places(Failpoints):
    """Calls back at named places of the mover, the first time each."""

    def __init__(self, calls: Mapping[str, Callable[[], object]]) -> None:
        super().__init__()
        self._calls = dict(calls)

    def __call__(self, name: str) -> None:
        super().__call__(name)
        call = self._calls.pop(name, None)
        if call is not None:
            call()


def run_move(
    bed: MovingBed,
    number: int,
    *,
    stops: Stops = TO_THE_END,
    rebalance: Mapping[str, Any] | None = None,
    **options: Any,
) -> Move:
    """Carry the move out as far as ``stops`` says, and return it.

    rebalance: settings of that section which differ from the bed's.
    """
    options.setdefault("owner", "test")
    options.setdefault("failpoint", Failpoints())
    settings = load_settings(bed.settings_path)
    section = settings.rebalance.model_copy(update=dict(rebalance or {}))
    settings = settings.model_copy(update={"rebalance": section})
    return Mover(settings, bed.moves, bed.catalog, stops=stops, **options).run(number)


def die_at(bed: MovingBed, number: int, place: str, **options: Any) -> bool:
    """Carry the move out until a failpoint ends it; False when it was not reached."""
    try:
        run_move(bed, number, failpoint=Failpoints(Failpoint(place, "raise")), **options)
    except FailpointReached:
        return True
    return False


def wish(bed: MovingBed, number: int, wanted: Wish) -> None:
    """Ask something of the move, as an operator."""
    bed.moves.wish(number, wanted, actor="tests", reason="a test")
