"""A short run of every fuzzer with a fixed seed. `python tests/fuzz/run.py` runs them for longer."""

import subprocess
import sys
from pathlib import Path

import pytest

CASES = {"bodies": 1500, "schemas": 400, "files": 600}
HERE = Path(__file__).parent


@pytest.mark.parametrize("target", CASES)
def test_damaged_inputs_are_used_or_refused(target):
    """No foreign exception, no 5xx, no signal, no hang. A case that fails is run again by its number."""
    command = [
        sys.executable,
        str(HERE / "run.py"),
        target,
        "--cases",
        str(CASES[target]),
        "--workers",
        "1",
        "--no-clock",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
