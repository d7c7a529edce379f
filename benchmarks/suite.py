"""What a suite is made of: benchmarks, each with the effort it may spend."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.progress import Progress
from benchmarks.rows import Row

QUICK_SHARE: Final = 10  # a quick run does a tenth of the rounds
FEWEST_ROUNDS: Final = 2


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure: ``repeat`` times the usual rounds, a tenth of that when quick."""

    progress: Progress
    repeat: int = 1
    is_quick: bool = False

    def rounds(self, usual: int) -> int:
        """Return how many rounds to run where a full run has so many."""
        wanted = usual * self.repeat
        return max(FEWEST_ROUNDS, wanted // QUICK_SHARE) if self.is_quick else wanted


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark: ``run`` measures, checks the answers and returns rows.

    It opens what it needs and leaves nothing behind, so each can run alone.
    """

    name: str
    run: Callable[[Effort], Sequence[Row]]
    is_repeated_pure: bool
    """True when the compiled modules matter to it: it runs a second time without them."""
