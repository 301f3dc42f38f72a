"""bench/runtimes.py: a pair in one process, and the table."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "bench" / "runtimes.py"


def test_two_libraries_compute_by_turns_in_either_order():
    for order in ("qwen3cpu,numpy", "numpy,qwen3cpu"):
        done = subprocess.run(
            [sys.executable, str(SCRIPT), "--child", order, "--tokens", "2"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        seconds = json.loads(done.stdout)
        assert list(seconds) == order.split(",")
        assert all(value > 0 for value in seconds.values())


def test_the_table_compares_with_each_library_alone(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import runtimes

    seconds = {
        "qwen3cpu": {"qwen3cpu": 0.010},
        "numpy": {"numpy": 0.020},
        "numpy,qwen3cpu": {"numpy": 0.021, "qwen3cpu": 0.012},
    }
    rows = runtimes.report({"seconds": seconds}).splitlines()[2:]
    assert rows == [
        "| numpy, qwen3cpu | numpy | 21.0 | 20.0 | 1.05 |",
        "| numpy, qwen3cpu | qwen3cpu | 12.0 | 10.0 | 1.20 |",
    ]
