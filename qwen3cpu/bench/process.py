"""The parent's side of a worker process: one request at a time, a line of JSON each way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from qwen3cpu.bench.errors import BenchError

_KILLED: Final = 9
"""SIGKILL."""

OWN_WORKER = (
    sys.executable,
    "-c",
    # `-m` would first find a package in the working directory, which may be a source tree that was not built.
    "import sys; sys.path[0] = sys.argv[1]; from qwen3cpu.bench.worker import main; main()",
    str(Path(__file__).parents[2]),
)
"""Command line that runs worker.py."""


class Worker:
    """A worker process, which keeps its model between requests. It is a context manager that ends the process.

    Args:
        name: for error messages.
        command: started at once. It answers each line {"op": ..., ...} on stdin with a line on stdout: an object, which
            has the key "error" when the request failed.
        environment: additional environment variables of the process.
    """

    def __init__(
        self, name: str, command: Sequence[str] = OWN_WORKER, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        variables = {**os.environ, **(environment or {})}
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
            )
        except OSError as reason:
            raise BenchError(f"{name}: {command[0]} cannot be started: {reason}") from None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.terminate()
        self._process.communicate()

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and return its answer. Raises BenchError if it failed or the process has died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self._process.wait()
            hint = "; most likely the system ran out of memory" if code == -_KILLED else ""
            raise BenchError(f"{self.name}: the worker process ended during {op!r} with code {code}{hint}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchError(f"{self.name}: {answer['error']}")
        return answer
