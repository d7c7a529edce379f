"""What the kernel counts for a process, read for this one and its children."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.measure import WrongAnswer
from benchmarks.proxy.accounting import (
    CpuTime,
    cpu_time,
    family,
    has_mapped,
    peak_bytes,
    reset_peak,
    resident_bytes,
)
from benchmarks.proxy.cpu_window import Sample, used_between

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
OURSELVES = [os.getpid()]


def test_processor_time_is_the_one_this_process_knows():
    before = time.process_time()
    told = cpu_time(OURSELVES).total
    assert before <= told <= time.process_time()
    assert cpu_time([]) == CpuTime(0.0, 0.0, 0.0)


def test_an_ended_process_is_a_wrong_answer():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    with pytest.raises(WrongAnswer, match="ended while it was measured"):
        cpu_time([process.pid])


def test_family_holds_descendants():
    code = "import subprocess, sys; subprocess.run(['cat'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        deadline = time.monotonic() + 10
        while len(family(process.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        found = family(process.pid)
        process.communicate()
    assert found[0] == process.pid
    assert len(found) == 2


def test_peak_counts_from_its_reset():
    held = bytearray(64 << 20)
    grown = resident_bytes(OURSELVES)
    assert grown >= len(held)
    del held
    reset_peak(OURSELVES)
    assert peak_bytes(OURSELVES) <= grown + (8 << 20)


def test_mapped_libraries_are_found():
    assert has_mapped(os.getpid(), "/") == any(
        line.endswith(".so") for line in Path("/proc/self/maps").read_text().splitlines()
    )
    assert not has_mapped(os.getpid(), "/no/such/directory/")


def test_window_is_cut_with_straight_lines():
    samples = [
        Sample(0.0, CpuTime(0.0, 0.0, 0.0)),
        Sample(1.0, CpuTime(10.0, 4.0, 6.0)),  # the logins
        Sample(3.0, CpuTime(12.0, 5.0, 7.0)),
    ]
    used = used_between(samples, 1.5, 2.5)
    assert used == CpuTime(1.0, 0.5, 0.5)
    assert used.user_share == 0.5
    assert used_between(samples, 0.5, 2.0).total == pytest.approx(6.0)


def test_window_outside_of_the_samples_is_refused():
    with pytest.raises(ValueError, match="no samples around 1"):
        used_between([Sample(0.0, CpuTime(0, 0, 0)), Sample(0.5, CpuTime(1, 1, 0))], 0.2, 1)


def test_nothing_used_has_no_user_share():
    assert CpuTime(0.0, 0.0, 0.0).user_share == 0.0
