"""The number of threads, by default and on request."""

from pathlib import Path

import pytest

from qwen3cpu.errors import ArgumentError
from qwen3cpu.system import thread_count as threads


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = {"proc/self/cgroup": "0::/user.slice/app\n"}
V1 = {"proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        (V2, None),
        ({**V2, "sys/fs/cgroup/user.slice/app/cpu.max": "max 100000\n"}, None),
        ({**V2, "sys/fs/cgroup/user.slice/app/cpu.max": "150000 100000\n"}, 1.5),
        ({**V2, "sys/fs/cgroup/user.slice/cpu.max": "50000 100000\n"}, 0.5),
        (
            {
                **V2,
                "sys/fs/cgroup/user.slice/app/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/user.slice/cpu.max": "200000 100000\n",
            },
            2.0,
        ),
        # Inside a container the process's own group is the root of the mount.
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "300000 100000"}, 3.0),
        ({"proc/self/cgroup": "0::/../..\n", "sys/fs/cgroup/cpu.max": "300000 100000"}, 3.0),
        ({**V2, "sys/fs/cgroup/cpu.max": "garbage"}, None),
        ({**V2, "sys/fs/cgroup/cpu.max": "x y"}, None),
        (
            {
                **V1,
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        (
            {
                **V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            1.0,
        ),
        (
            {
                **V1,
                "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
)
def test_cgroup_quota(tmp_path, files, quota):
    assert threads.cgroup_quota(tree(tmp_path, files)) == quota


@pytest.mark.parametrize(
    ("cores", "cpus", "quota", "expected"),
    [(8, 16, None, 8), (8, 4, None, 4), (8, 16, 2.9, 2), (8, 16, 0.3, 1), (1, 1, 64.0, 1)],
)
def test_the_default_is_the_smallest_of_cores_affinity_and_quota(monkeypatch, cores, cpus, quota, expected):
    monkeypatch.setattr(threads._native, "physical_cores", lambda: cores)
    monkeypatch.setattr(threads, "available_cpus", lambda: cpus)
    monkeypatch.setattr(threads, "cgroup_quota", lambda root: quota)
    assert threads.default_threads() == expected


def test_the_caller_comes_before_the_variable_and_that_before_the_default(monkeypatch):
    monkeypatch.setattr(threads, "default_threads", lambda: 5)
    monkeypatch.delenv("QWEN3CPU_THREADS", raising=False)
    assert threads.resolve_threads(None) == 5
    monkeypatch.setenv("QWEN3CPU_THREADS", "3")
    assert threads.resolve_threads(None) == 3
    assert threads.resolve_threads(7) == 7
    monkeypatch.setenv("QWEN3CPU_THREADS", "")
    assert threads.resolve_threads(None) == 5


@pytest.mark.parametrize("value", [0, -1, 1025, 1.0, True, "2"])
def test_impossible_arguments_are_refused(value):
    with pytest.raises(ArgumentError, match=r"threads: expected a whole number from 1 to 1024, found"):
        threads.resolve_threads(value)


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "٣", "1025"])
def test_an_impossible_variable_is_refused_by_name(monkeypatch, value):
    monkeypatch.setenv("QWEN3CPU_THREADS", value)
    with pytest.raises(ArgumentError, match="QWEN3CPU_THREADS"):
        threads.resolve_threads(None)
