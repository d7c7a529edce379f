"""Programs and servers are kept apart where there is more than one CPU."""

import os

import pytest

from benchmarks.cpus import Cpus

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="this system does not let a process choose"
)


def test_program_and_servers_share_no_cpu_and_leave_none_out():
    cpus = Cpus()
    everything = os.sched_getaffinity(0)
    if len(everything) > 1:
        assert not cpus.program & cpus.servers
    assert cpus.program | cpus.servers == everything
    assert cpus.program


def test_not_kept_apart_both_have_all():
    cpus = Cpus(are_apart=False)
    assert cpus.program == cpus.servers == os.sched_getaffinity(0)


def test_blocks_choose_and_give_back():
    cpus, before = Cpus(), os.sched_getaffinity(0)
    with cpus.servers_start():
        assert os.sched_getaffinity(0) == cpus.servers
    with cpus.program_runs():
        assert os.sched_getaffinity(0) == cpus.program
    with cpus.load_runs():
        assert os.sched_getaffinity(0) == cpus.servers
    assert os.sched_getaffinity(0) == before


def test_all_cpus_are_given_back_after_an_error():
    cpus, before = Cpus(), os.sched_getaffinity(0)
    with pytest.raises(RuntimeError), cpus.program_runs():
        raise RuntimeError("a benchmark failed")
    assert os.sched_getaffinity(0) == before
