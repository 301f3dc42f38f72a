"""The suite tests only the package that it is told to test. tools/build_wheels.py relies on this."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import qwen3cpu

PACKAGE = Path(qwen3cpu.__file__).parent


def collect(package):
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", __file__]
    env = os.environ | {"QWEN3CPU_TESTED_PACKAGE": str(package)}
    return subprocess.run(command, capture_output=True, text=True, env=env)


def test_the_right_package_is_accepted():
    done = collect(PACKAGE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"from {PACKAGE}" in done.stdout


def test_another_package_is_refused(tmp_path):
    other = tmp_path / "qwen3cpu"
    other.mkdir()
    done = collect(other)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"expected qwen3cpu from {other}, found {PACKAGE}" in done.stderr
