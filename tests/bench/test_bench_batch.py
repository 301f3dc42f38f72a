"""bench/batch.py, which compares files of jobs with `Model.generate_batch`."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "bench" / "batch.py"


def test_every_turn_has_a_figure_for_each_way():
    command = [sys.executable, str(SCRIPT), "--jobs", "6", "--tokens", "3", "--turns", "2", "--threads", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found["seconds"]) == ["generate_batch", "plain lines", "chat lines"]
    assert [len(each) for each in found["seconds"].values()] == [2, 2, 2]
    assert found["ratios"]["generate_batch"] == [1.0, 1.0]
