"""bench/runtimes.py: a pair in one process, and the table."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "bench" / "runtimes.py"


@pytest.mark.heavy
def test_two_libraries_compute_in_one_process_in_either_order():
    for order, *flags in (
        ("qwen3cpu,walk",),
        ("numpy,qwen3cpu", "--by-turns", "--late"),
    ):
        command = [sys.executable, str(SCRIPT), "--child", order, "--tokens", "2", *flags]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        seconds = json.loads(done.stdout)
        assert list(seconds) == order.split(",")
        assert all(value > 0 for value in seconds.values())


def test_each_library_is_compared_with_itself_alone_in_the_same_round(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import runtimes

    slow = iter([1, 5, 2])  # how busy the machine is in each round
    busy = 1

    def child(order, args):
        nonlocal busy
        if order == "qwen3cpu":
            busy = next(slow)
        beside = 1.2 if "," in order else 1
        return {name: busy * beside * (0.010 if name == "numpy" else 0.020) for name in order.split(",")}

    monkeypatch.setattr(runtimes, "child", child)
    record = runtimes.compare(argparse.Namespace(model="tiny", threads=2, rounds=3, walk=False), ["numpy"])
    rows = runtimes.report(record).splitlines()[2:]
    assert rows == [
        "| qwen3cpu, numpy | qwen3cpu | 48.0 | 40.0 | 1.20 |",
        "| qwen3cpu, numpy | numpy | 24.0 | 20.0 | 1.20 |",
        "| numpy, qwen3cpu | numpy | 24.0 | 20.0 | 1.20 |",
        "| numpy, qwen3cpu | qwen3cpu | 48.0 | 40.0 | 1.20 |",
    ]
