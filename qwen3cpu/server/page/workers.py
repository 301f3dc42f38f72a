"""Worker processes for the page: what each is asked, one after the other, and the end of one that hits a limit."""

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
"""Requests of one kind that may wait."""
END_SECONDS = 5.0
"""For a process to end by itself."""
_ERROR = b'{"error": '


class Limits(NamedTuple):
    """Limits of a kind of work.

    Attributes:
        processes: that do it side by side at most.
        seconds: of processor time for a request.
        bytes: of memory for a request, beside what the process has anyway.
    """

    processes: int
    seconds: float
    bytes: int


LIMITS = {"render": Limits(2, 2.0, 256 << 20), "extract": Limits(1, 30.0, 512 << 20)}


class Workers:
    """Processes for one kind of work. They are started when there is work, and stay.

    Args:
        job: the kind, a key of `LIMITS`.
        limits: None for those of the kind.
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
        """The JSON of a reply.

        Raises:
            ApiError: 422, the work cannot be done or hit a limit; 429, too many others wait.
        """
        if self._waiting >= MOST_WAITING:
            raise ApiError(429, "too many requests of this kind are waiting", code="queue_full")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, request)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End all processes. What has not begun never begins."""
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
        except OSError:  # it has ended
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
        """A process that has nothing to do."""
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
    """End a process. One that waits for work ends when there will be none."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(OSError):  # what was to be written has no reader
        process.stdin.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
