"""The number of cores that the process may use, compared with Linux's own description of its CPUs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qwen3cpu import _native

TOPOLOGY = Path("/sys/devices/system/cpu")
if not hasattr(os, "sched_getaffinity"):
    pytest.skip("only Linux tells a process which CPUs it may run on", allow_module_level=True)

PINNED = """
import os, sys
os.sched_setaffinity(0, {int(cpu) for cpu in sys.argv[1:]})
from qwen3cpu import _native
print(_native.physical_cores())
"""


def cores_of(cpus):
    """(package, core) of each CPU. If Linux names no core, every CPU counts as one."""

    def number(cpu, name, otherwise):
        path = TOPOLOGY / f"cpu{cpu}" / "topology" / name
        return int(path.read_text()) if path.is_file() else otherwise

    return {(number(cpu, "physical_package_id", 0), number(cpu, "core_id", cpu)) for cpu in cpus}


def pinned(cpus):
    command = [sys.executable, "-c", PINNED, *map(str, cpus)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_cpus_that_share_a_core_count_once():
    assert _native.physical_cores() == len(cores_of(os.sched_getaffinity(0)))


def test_only_cpus_that_the_process_may_run_on_count():
    allowed = sorted(os.sched_getaffinity(0))
    assert [pinned([cpu]) for cpu in allowed[:2]] == [1] * len(allowed[:2])
    assert pinned(allowed[-2:]) == len(cores_of(allowed[-2:]))
