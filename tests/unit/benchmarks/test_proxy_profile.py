"""Symbols of profiles become names of functions and modules."""

from collections import Counter

import pytest

from benchmarks.measure import WrongAnswer
from benchmarks.proxy.profile import print_table
from benchmarks.proxy.profile_symbols import read_perf, read_stacks, readable


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("_PyEval_EvalFrameDefault", "_PyEval_EvalFrameDefault"),
        ("init_cpu_features.constprop.0", "init_cpu_features"),
        ("__pyx_f_11shardrouter_8topology_7hashing_bytes_hash", "bytes_hash"),
        ("__pyx_f_11shardrouter_8topology_7hashing__word.part.0", "_word"),
        ("__pyx_f_11shardrouter_4wire_14backend_stream_13BackendStream_feed", "BackendStream.feed"),
        (
            "__pyx_pw_11shardrouter_4wire_14backend_stream_13BackendStream_3feed",
            "BackendStream.feed",
        ),
        ("__pyx_f_6uvloop_4loop_9UVProcess__init", "UVProcess._init"),
        ("__Pyx_PyObject_Call", "__Pyx_PyObject_Call"),
    ],
)
def test_readable(symbol, name):
    assert readable(symbol) == name


def test_perf_lines_are_read_and_others_left_out():
    lines = [
        "    7fb1d53c264b handle_amd (/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2)",
        "    55d0 __pyx_f_1a_1b_f (/x/shardrouter/wire/stream.cpython-311-x86_64-linux-gnu.so)",
        "    7f00 [unknown] ([vdso])",
        "",
    ]
    assert list(read_perf(lines)) == [
        ("handle_amd", "ld-linux-x86-64"),
        ("f", "stream"),
        ("[unknown]", "[vdso]"),
    ]


def test_only_the_innermost_function_of_a_stack_counts():
    lines = [
        "main (a.py:1);run (b.py:20);feed (c.py:3) 4",
        "main (a.py:1);feed (c.py:9) 2",
        "main (a.py:1) 1",
    ]
    assert read_stacks(lines) == Counter({("feed", "c.py"): 6, ("main", "a.py"): 1})


def test_table_tells_shares_and_microseconds_and_sums_up_the_rest(capsys):
    found = Counter({("feed", "stream"): 900, ("poll", "loop"): 99, ("rare", "loop"): 1})
    print_table("function", "module", found, us=10.0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [
        "| 90.0% | 9.00 | feed | stream |",
        "| 9.9% | 0.99 | poll | loop |",
        "| 0.1% | 0.01 | everything else |  |",
    ]


def test_a_profile_without_samples_is_no_result():
    with pytest.raises(WrongAnswer, match="saw nothing"):
        print_table("function", "module", Counter(), us=10.0)
