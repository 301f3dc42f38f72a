"""Worker processes for the page. Each handles one request after another, and is replaced when it hits a limit."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.page.worker import receive, send

MOST_WAITING = 64
"""The largest number of waiting requests of one kind."""
END_SECONDS = 5.0
"""Seconds that a process has to end by itself before it is killed."""
_ERROR = b'{"error": '


class Limits(NamedTuple):
    """Limits of a kind of work.

    Attributes:
        processes: the largest number of processes.
        seconds: processor time of a request.
        bytes: memory of a request, in addition to what the process has before.
    """

    processes: int
    seconds: float
    bytes: int


LIMITS = {"render": Limits(2, 2.0, 256 << 20), "extract": Limits(1, 30.0, 512 << 20)}


class Workers:
    """Processes for one kind of work. They are started on demand, and stay.

    Args:
        job: the kind of work, a key of `LIMITS`.
        limits: its limits; None: those in `LIMITS`.
    """

    def __init__(self, job: str, limits: Limits | None = None) -> None:
        self._job = job
        self._limits = limits or LIMITS[job]
        self._threads = ThreadPoolExecutor(self._limits.processes, f"qwen3cpu-{job}")
        self._lock = threading.Lock()
        self._free: list[subprocess.Popen[bytes]] = []
        self._all: list[subprocess.Popen[bytes]] = []
        self._waiting = 0
        self._closed = False

    async def run(self, **request: Any) -> bytes:
        """Run a request, and return the JSON of its reply.

        Raises:
            ApiError: 422 if the work fails or hits a limit; 429 if too many requests wait.
        """
        if self._waiting >= MOST_WAITING:
            raise ApiError(429, "too many requests of this kind are waiting", code="queue_full")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, request)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End all processes. Waiting requests are cancelled."""
        with self._lock:
            self._closed = True
            idle = list(self._free)
            processes = list(self._all)
        for process in processes:
            if process not in idle:
                process.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for process in processes:
            _end(process)

    def _ask(self, request: dict[str, Any]) -> bytes:
        _, seconds, most = self._limits
        message = json.dumps({**request, "job": self._job, "seconds": seconds, "bytes": most}).encode()
        process = self._take()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            send(process.stdin, message)
            reply = receive(process.stdout)
        except OSError:  # the process has ended
            reply = None
        if reply is None:
            with self._lock:
                self._all.remove(process)
            _end(process)
            raise ApiError(422, "the text is too complex: a limit of time or memory was reached", code="too_complex")
        with self._lock:
            self._free.append(process)
        if reply.startswith(_ERROR):
            raise ApiError(422, json.loads(reply)["error"], code="unreadable")
        return reply

    def _take(self) -> subprocess.Popen[bytes]:
        """Take an idle process, or start one."""
        with self._lock:
            if self._closed:
                raise ApiError(503, "the server is shutting down", code="shutting_down")
            while self._free:
                process = self._free.pop()
                if process.poll() is None:
                    return process
                self._all.remove(process)
                _end(process)
            process = subprocess.Popen(
                [sys.executable, "-m", "qwen3cpu.server.page.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._all.append(process)
            return process


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process. An idle one ends by itself when its input is closed."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(OSError):  # the process does not read the rest of its input
        process.stdin.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
