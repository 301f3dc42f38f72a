"""Runs cases in a process of its own, which may crash or hang, and reports the outcome of each."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HANGS_AFTER = 60.0
"""Seconds without output after which a worker is killed: far more than any case takes on a busy machine."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one case."""

    case: int
    kind: str
    """"fine", "refused" (a Qwen3CpuError), or a fault: "foreign" (another exception), "signal", "hang"."""
    detail: str = ""
    cpu_seconds: float = 0.0

    @property
    def wrong(self) -> bool:
        """Whether this is a fault of the package."""
        return self.kind not in ("fine", "refused")


def outcomes(target: str, seed: int, cases: range) -> Iterator[Outcome]:
    """Yield the outcomes of all cases of a target, in order. A worker that dies is replaced after the case."""
    at = cases.start
    while at < cases.stop:
        for outcome in _run_worker(target, seed, range(at, cases.stop)):
            yield outcome
            at = outcome.case + 1


def _run_worker(target: str, seed: int, cases: range) -> Iterator[Outcome]:
    command = [sys.executable, str(Path(__file__).with_name("worker.py")), target, str(seed)]
    command += [str(cases.start), str(cases.stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()) as worker:
        assert worker.stdout is not None
        running = cases.start
        last = time.monotonic()
        rest = b""
        while True:
            ready, _, _ = select.select([worker.stdout], [], [], 1.0)
            if not ready:
                if time.monotonic() - last > HANGS_AFTER:
                    worker.kill()
                    worker.wait()
                    yield Outcome(running, "hang", f"no answer in {HANGS_AFTER:g} s")
                    return
                continue
            data = os.read(worker.stdout.fileno(), 1 << 16)
            last = time.monotonic()
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                outcome = Outcome(**json.loads(line))
                running = outcome.case + 1
                yield outcome
        code = worker.wait()
        if running < cases.stop:
            yield Outcome(running, "signal", f"the process ended with {code}")


def _environment() -> dict[str, str]:
    here = Path(__file__).resolve().parent
    paths = [str(here), str(here.parent / "support"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONFAULTHANDLER": "1"}
