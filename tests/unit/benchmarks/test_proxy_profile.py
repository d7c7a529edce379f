"""Symbols of profiles become names of functions and modules."""

from collections import Counter

import pytest

from benchmarks.measure import WrongAnswer
from benchmarks.proxy.profile import print_table
from benchmarks.proxy.profile_symbols import (
    NOBODY,
    itself,
    owner,
    read_chains,
    readable,
)


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


LINES = """\
\t   1af840 pymalloc_alloc (inlined)
\t   1af840 _PyObject_Malloc (/usr/lib/libpython3.11.so.1.0)
\t    fdcb9 _PyEval_EvalFrameDefault (/usr/lib/libpython3.11.so.1.0)
\t    1fabd __pyx_f_1a_1b_4Pair_quiet (/x/shardrouter/proxy/pair.cpython-311-x86_64-linux-gnu.so)
\t   1165c3 __pyx_f_6uvloop_4loop_run (/v/uvloop/loop.cpython-311-x86_64-linux-gnu.so)
\tffffffffffffffff [unknown] ([unknown])


\t      b46 __vdso_clock_gettime ([vdso])
\t   1165c3 uv__io_poll (/v/uvloop/loop.cpython-311-x86_64-linux-gnu.so)

\t      b46 main (/srv/shardrouter/.venv/bin/python3.11)
""".splitlines()


def test_chains_are_read_innermost_first_and_without_what_was_inlined():
    chains = list(read_chains(LINES))
    assert [len(chain) for chain in chains] == [5, 2, 1]
    assert [itself(chain) for chain in chains] == [
        ("_PyObject_Malloc", "libpython3.11"),
        ("__vdso_clock_gettime", "[vdso]"),
        ("main", "python3.11"),
    ]


def test_what_ran_counts_for_the_compiled_function_that_asked_for_it():
    found = [owner(chain) for chain in read_chains(LINES)]
    assert found == [("Pair.quiet", "pair"), ("uv__io_poll", "loop"), NOBODY]


def test_table_tells_shares_and_microseconds_and_sums_up_the_rest(capsys):
    found = Counter({("feed", "stream"): 900, ("poll", "loop"): 99, ("rare", "loop"): 1})
    print_table("function", found, us=10.0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [
        "| 90.0% | 9.00 | feed | stream |",
        "| 9.9% | 0.99 | poll | loop |",
        "| 0.1% | 0.01 | everything else |  |",
    ]


def test_a_profile_without_samples_is_no_result():
    with pytest.raises(WrongAnswer, match="saw nothing"):
        print_table("function", Counter(), us=10.0)
