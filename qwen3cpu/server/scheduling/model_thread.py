"""A thread that owns a model. Other threads submit jobs, cancel them, and ask whether there is room for one more."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from time import perf_counter
from typing import Generic, Protocol, TypeVar

from qwen3cpu.engine.engine import Engine
from qwen3cpu.server.scheduling.jobs import QueueFullError, ShuttingDownError, TimeLimitError
from qwen3cpu.server.scheduling.memory import kv_blocks
from qwen3cpu.server.scheduling.stats import Stats
from qwen3cpu.server.scheduling.turns import Turns

logger = logging.getLogger(__name__)


class Handed(Protocol):
    """A job that can be submitted."""

    number: int
    """Place in the order of arrival."""
    cancelled: bool
    """Set from any thread; the job is dropped before the next step."""
    timeout: float

    @property
    def deadline(self) -> float:
        """The time by which it must end, on the clock of perf_counter."""


J = TypeVar("J", bound=Handed)


class ModelThread(ABC, Generic[J]):
    """Runs jobs on its own thread, from `start` to `stop`. A subclass defines the work.

    Args:
        engine: the model's engine.
        places: the largest number of requests in the queue.
        kv_bytes: memory of the KV cache.
        turns: shares the processor among models; None: no other model uses it.

    Raises:
        ArgumentError: the KV memory does not hold one full context.
    """

    def __init__(self, engine: Engine, places: int, kv_bytes: int, turns: Turns | None = None) -> None:
        self._engine = engine
        self.turns = turns or Turns()
        """Each step waits for a turn."""
        self._places = places
        self.kv_blocks = kv_blocks(engine, kv_bytes)
        """Blocks that the KV cache may have."""
        self.stats = Stats()
        """Counters, written by the thread."""
        # Shared with other threads.
        self._lock = threading.Lock()
        self._inbox: deque[tuple[J, ...]] = deque()
        self._handed_in = 0
        self._queued = 0
        self._wake = threading.Event()
        self._cut_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="qwen3cpu-scheduler", daemon=True)

    # For other threads

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether jobs are still run."""
        return self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        """Whether new jobs are refused."""
        return self._cut_at is not None

    @property
    def queued(self) -> int:
        """The number of requests in the queue. One with several jobs counts once, until its last job has started."""
        return self._queued

    @property
    def kv_blocks_in_use(self) -> int:
        """Blocks of the KV cache that are in use, including those of the prefix cache."""
        return self._engine.kv_blocks_in_use

    @property
    def kv_blocks_cached(self) -> int:
        """Blocks of the KV cache that the prefix cache holds."""
        return self._engine.prefix_cache.size // self._engine.kv_block_bytes

    @property
    @abstractmethod
    def running(self) -> int:
        """The number of answers, or of requests for vectors or scores, in work."""

    def check_room(self, others: int) -> None:
        """Raise QueueFullError when the queue has no place for one more request, ShuttingDownError after `stop`.

        Args:
            others: the number of requests that arrived before and will be submitted.
        """
        if self.stopping or not self.alive:
            raise ShuttingDownError("the server is shutting down")
        if self._queued + others >= self._places + self.free_places:
            raise self._full(self._queued + others)

    def submit(self, *jobs: J) -> None:
        """Submit the jobs of one request, which takes one place in the queue. QueueFullError, ShuttingDownError."""
        with self._lock:
            if self.stopping or not self.alive:
                raise ShuttingDownError("the server is shutting down")
            if self._queued >= self._places + self.free_places:
                raise self._full(self._queued)
            self._queued += 1
            for job in jobs:
                self._handed_in += 1
                job.number = self._handed_in
            self._inbox.append(jobs)
        self._wake.set()

    def cancel(self, job: J) -> None:
        """Drop a job before the next step; its sink gets nothing after that. Has no effect on a job that has ended."""
        job.cancelled = True
        self._wake.set()

    def stop(self, grace: float = 0.0) -> None:
        """Refuse new jobs. The others may continue for `grace` seconds, and then end with ShuttingDownError."""
        with self._lock:
            self._cut_at = perf_counter() + grace
        self._wake.set()

    def join(self) -> None:
        """Wait for the end of a thread that was stopped."""
        self._thread.join()

    def _full(self, waiting: int) -> QueueFullError:
        return QueueFullError(waiting, int(min(max(1.0, self.wait_seconds(self._queued)), 60.0)))

    # For the subclass

    @property
    @abstractmethod
    def free_places(self) -> int:
        """The number of requests that could start at once without waiting in the queue."""

    @abstractmethod
    def wait_seconds(self, requests: int) -> float:
        """The seconds that this many requests in the queue should take."""

    @abstractmethod
    def work(self) -> None:
        """Run jobs until `stopping` and no job is left. Called on the thread."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """End all jobs after an unexpected error. Called on the thread."""

    def fetch(self) -> list[tuple[J, ...]]:
        """Return the jobs of each request that was submitted since the last call."""
        requests: list[tuple[J, ...]] = []
        while self._inbox:
            requests.append(self._inbox.popleft())
        return requests

    def leave_queue(self) -> None:
        """Note that a request has left the queue."""
        with self._lock:
            self._queued -= 1

    def wait(self, seconds: float | None = None) -> None:
        """Wait for a new, cancelled or released job, or for `stop`. Called on the thread."""
        self._wake.wait(seconds)

    def looked(self) -> None:
        """Note that the thread has handled all news, so that `wait` waits for the next."""
        self._wake.clear()

    def wake(self) -> None:
        """Let the thread return from `wait`. Any thread may call it."""
        self._wake.set()

    def is_over(self, job: J, now: float) -> bool:
        """Whether a job must end at this time. `reason` tells why."""
        return job.cancelled or self._is_cut(now) or now > job.deadline

    def reason(self, job: J, now: float) -> Exception | None:
        """The error that ends a job that is over; None: it was cancelled."""
        if job.cancelled:
            return None
        if self._is_cut(now):
            return ShuttingDownError("the server is shutting down; the answer was cut off")
        return TimeLimitError(f"the request took longer than {job.timeout:g} seconds")

    def _is_cut(self, now: float) -> bool:
        return self._cut_at is not None and now >= self._cut_at

    def _run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            logger.exception("the scheduler has failed")
            self.stop()
            self.fail(error if isinstance(error, Exception) else RuntimeError("interrupted"))
