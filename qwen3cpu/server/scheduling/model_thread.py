"""A thread that owns a model: others hand jobs to it, cancel them, and learn whether there is room for one more."""

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
    """What can be handed in."""

    number: int
    """Place in the order of arrival."""
    cancelled: bool
    """Set from any thread; the job is dropped before the next step."""
    timeout: float

    @property
    def deadline(self) -> float:
        """When it has to be done, on the clock of perf_counter."""


J = TypeVar("J", bound=Handed)


class ModelThread(ABC, Generic[J]):
    """Runs jobs on a thread of its own, from `start` to `stop`. A subclass has the work.

    Args:
        engine: of the model.
        places: jobs that may be in the queue.
        kv_bytes: memory of the KV cache.
        turns: for the processor; None: it is this model's alone.

    Raises:
        ArgumentError: the KV memory does not hold one full context.
    """

    def __init__(self, engine: Engine, places: int, kv_bytes: int, turns: Turns | None = None) -> None:
        self._engine = engine
        self.turns = turns or Turns()
        """A step is made in a turn."""
        self._places = places
        self.kv_blocks = kv_blocks(engine, kv_bytes)
        """Blocks that the KV cache may have."""
        self.stats = Stats()
        """Counters, written by the thread."""
        # Shared with other threads.
        self._lock = threading.Lock()
        self._inbox: deque[J] = deque()
        self._handed_in = 0
        self._queued = 0
        self._wake = threading.Event()
        self._cut_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="qwen3cpu-scheduler", daemon=True)

    # For other threads

    def start(self) -> None:
        """Begin."""
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
        """Jobs in the queue."""
        return self._queued

    @property
    def kv_blocks_in_use(self) -> int:
        """Blocks of the KV cache that are taken, those of the prefix cache included."""
        return self._engine.kv_blocks_in_use

    @property
    def kv_blocks_cached(self) -> int:
        """Blocks of the KV cache that the prefix cache holds."""
        return self._engine.prefix_cache.size // self._engine.kv_block_bytes

    @property
    @abstractmethod
    def running(self) -> int:
        """Answers, or requests for vectors or scores, that are worked on."""

    def check_room(self, others: int) -> None:
        """QueueFullError when a request that arrives now would find the queue full, ShuttingDownError at the end.

        Args:
            others: requests that have arrived before and will be handed in.
        """
        if self.stopping or not self.alive:
            raise ShuttingDownError("the server is shutting down")
        if self._queued + others >= self._places + self.free_places:
            raise self._full(self._queued + others)

    def submit(self, job: J) -> None:
        """Hand a job in. Raises QueueFullError, ShuttingDownError."""
        with self._lock:
            if self.stopping or not self.alive:
                raise ShuttingDownError("the server is shutting down")
            if self._queued >= self._places:
                raise self._full(self._queued)
            self._queued += 1
            self._handed_in += 1
            job.number = self._handed_in
            self._inbox.append(job)
        self._wake.set()

    def cancel(self, job: J) -> None:
        """Drop a job before the next step; its sink gets nothing after that. A job that has ended is left alone."""
        job.cancelled = True
        self._wake.set()

    def stop(self, grace: float = 0.0) -> None:
        """Refuse new jobs. The others may go on for `grace` seconds, then end with ShuttingDownError."""
        with self._lock:
            self._cut_at = perf_counter() + grace
        self._wake.set()

    def join(self) -> None:
        """Wait until a stopped thread is done."""
        self._thread.join()

    def _full(self, waiting: int) -> QueueFullError:
        return QueueFullError(waiting, int(min(max(1.0, self.wait_seconds(self._queued)), 60.0)))

    # For the subclass

    @property
    @abstractmethod
    def free_places(self) -> int:
        """Places beside the queue that a job could take at once."""

    @abstractmethod
    def wait_seconds(self, jobs: int) -> float:
        """How long so many jobs in the queue should take."""

    @abstractmethod
    def work(self) -> None:
        """Run jobs, on the thread, until `stopping` and nothing is left."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """End all jobs, on the thread, after an error that nobody foresaw."""

    def fetch(self) -> list[J]:
        """The jobs that were handed in since the last time."""
        jobs: list[J] = []
        while self._inbox:
            jobs.append(self._inbox.popleft())
        return jobs

    def leave_queue(self) -> None:
        """A job is in the queue no more."""
        with self._lock:
            self._queued -= 1

    def wait(self, seconds: float | None = None) -> None:
        """Wait until something is to be looked at, on the thread."""
        self._wake.wait(seconds)

    def looked(self) -> None:
        """What there was to be looked at has been."""
        self._wake.clear()

    def wake(self) -> None:
        """Let the thread look again; from any thread."""
        self._wake.set()

    def is_over(self, job: J, now: float) -> bool:
        """Whether a job has to end at this time, for `reason`."""
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
