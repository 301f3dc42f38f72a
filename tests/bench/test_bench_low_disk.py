"""bench/low_disk.py: the whole script, with one layer."""

import subprocess
import sys
from pathlib import Path

import pytest
from cli_runs import ROOT, environment


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.heavy
def test_one_layer_is_packed(tmp_path):
    command = [sys.executable, "bench/low_disk.py", tmp_path, "--size", "0.6B", "--layers", "1", "--shards", "2"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *_, row = done.stdout.splitlines()
    assert row.startswith("| 0.3 GB | 0.17 GB |")
    assert list(tmp_path.iterdir()) == []
