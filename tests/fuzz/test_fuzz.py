"""A short run of every fuzzer with a fixed seed. tests/fuzz/run.py and guided.py run them for longer."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

CASES = {"bodies": 400, "schemas": 100, "files": 300}
HEAVY = ("files",)
GUIDED = ("bodies", "schemas", "safetensors", "gguf", "packed", "session", "tokenizer.json", "config.json")
HERE = Path(__file__).parent
GUIDED_PY = str(HERE / "guided.py")


@pytest.mark.parametrize("target", [pytest.param(each, marks=[pytest.mark.heavy] * (each in HEAVY)) for each in CASES])
def test_damaged_inputs_are_used_or_refused(target):
    """No foreign exception, no 5xx, no signal, no hang. Repeat a failed case by its number with run.py."""
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


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
@pytest.mark.parametrize("target", GUIDED)
def test_guided_inputs_are_used_or_refused(target, tmp_path):
    """Inputs that reached new code are in the corpus, so functions are instrumented. No input ends the run."""
    flags = ["--runs", "200", "--no-clock", "--folder", str(tmp_path), "-seed=1"]
    done = subprocess.run([sys.executable, GUIDED_PY, target, *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert list((tmp_path / "found").iterdir()) == []
    new = [line for line in done.stderr.splitlines() if line.startswith("#") and "NEW" in line]
    assert new, done.stderr[-2000:]


def test_a_missing_atheris_is_named():
    begin = f"import runpy, sys; sys.path.insert(0, {str(HERE)!r}); sys.modules['atheris'] = None; del sys.argv[0]"
    program = f"{begin}; runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program, GUIDED_PY, "gguf"], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.endswith("pip install 'qwen3cpu[fuzz]'\n")
