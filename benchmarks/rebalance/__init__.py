"""Suite ``rebalance``: what moves of slots cost, those who write above all."""

from typing import Final

from benchmarks.rebalance import copy_rate, foreground, joining, write_pause
from benchmarks.suite import Benchmark

BENCHMARKS: Final = (
    Benchmark("copy rate", copy_rate.run, is_repeated_pure=False),
    Benchmark("write pause", write_pause.run, is_repeated_pure=False),
    Benchmark("foreground", foreground.run, is_repeated_pure=False),
    Benchmark("joining", joining.run, is_repeated_pure=False),
)
"""The servers do the work: compiled or pure makes no difference that could be measured."""
