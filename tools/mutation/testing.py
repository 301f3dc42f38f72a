"""Runs test files of a tree in a process of their own, which contains hangs and crashes of the fault."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from typing import NamedTuple

from mutation.tree import Tree

HANG_SECONDS = 600.0
MOST_BYTES = 12 << 30  # limits the memory of faults that allocate without end
PASSED = {0, 5}  # pytest's exit codes: all passed, none collected (all are skipped or deselected)

_FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/\S+?(?:\[.*?\])?)(?: - .*)?$", re.MULTILINE)
_RUNNING = re.compile(r"^(tests/\S+?::\w+(?:::\w+)*(?:\[.*?\](?= |$))?)", re.MULTILINE)


class Outcome(NamedTuple):
    """How a run of tests ended: "passed", "failed", "crashed" or "hung", and by which test."""

    how: str
    test: str | None
    seconds: float
    output: str


class Runner:
    """Runs tests of a tree, each run with an empty cache folder and an empty folder for temporary files."""

    def __init__(self, tree: Tree, *, hang_seconds: float = HANG_SECONDS) -> None:
        self._tree = tree
        self._hang_seconds = hang_seconds
        self._scratch = tree.folder / "scratch"
        self._log = tree.folder / "pytest.log"

    def clean(self) -> None:
        """Delete what earlier runs left: packed models, examples of hypothesis, temporary files."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()

    def run(self, tests: list[str], *options: str, env: dict[str, str] | None = None) -> Outcome:
        """Run test files or single tests, in their order."""
        self._scratch.mkdir(exist_ok=True)
        command = [str(self._tree.python), "-m", "pytest", "-v", "-p", "no:cacheprovider"]
        # One process, regardless of the tree's own options.
        command += ["-p", "no:xdist", "-p", "no:randomly", "-o", "addopts="]
        command += ["--tb=short", f"--basetemp={self._scratch / 'pytest'}", *options, *tests]
        started = time.monotonic()
        with self._log.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                command,
                cwd=self._tree.sources,
                env=self._environment() | (env or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_limit_memory,
            )
            try:
                code = self._wait(process)
            finally:
                _end_all(process)
        output = self._log.read_text(encoding="utf-8", errors="replace")
        return outcome(code, output, time.monotonic() - started)

    def _environment(self) -> dict[str, str]:
        own = {
            "PYTHONPATH": str(self._tree.sources),
            "QWEN3CPU_CACHE": str(self._scratch / "cache"),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(self._scratch / "hypothesis"),
            "TMPDIR": str(self._scratch),
            "HF_HUB_OFFLINE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        return os.environ | own

    def _wait(self, process: subprocess.Popen[bytes]) -> int | None:
        """The exit code; None if the process hangs, because it printed nothing for `hang_seconds`."""
        size, changed = -1, time.monotonic()
        while process.poll() is None:
            time.sleep(0.1)
            now = self._log.stat().st_size
            if now != size:
                size, changed = now, time.monotonic()
            elif time.monotonic() - changed > self._hang_seconds:
                return None
        return process.returncode


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))


def _end_all(process: subprocess.Popen[bytes]) -> None:
    """End a run with all of its child processes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def outcome(code: int | None, output: str, seconds: float) -> Outcome:
    """The outcome from pytest's exit code (None: it hung) and verbose output."""
    if code in PASSED:
        return Outcome("passed", None, seconds, output)
    failed = _FAILED.search(output)
    running = _RUNNING.findall(output)
    if code is not None and code > 0 and (failed or not running):
        return Outcome("failed", failed[1] if failed else "tests/conftest.py", seconds, output)
    return Outcome("hung" if code is None else "crashed", running[-1] if running else None, seconds, output)


def note(text: str) -> None:
    """Tell the user about the progress."""
    print(text, file=sys.stderr, flush=True)
