"""Vectors and scores for several requests at once: one thread that owns a model and fills its passes with their texts.

Passes are short (pace.py), and requests share them round-robin. The request that has waited longest comes first, each
gets an equal share of the pass, and the rest of the pass is shared again. So a small request ends after a few passes,
however large the others are. None of this changes a result, because a token's hidden state depends on its own sequence
only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import chain
from time import perf_counter
from typing import Final, TypeAlias

from qwen3cpu.engine.batch import BatchItem
from qwen3cpu.engine.engine import Engine
from qwen3cpu.retrieval.window import LEAST_PIECE
from qwen3cpu.server.scheduling.model_thread import ModelThread
from qwen3cpu.server.scheduling.pace import TextPace
from qwen3cpu.server.scheduling.scheduler import SchedulerLimits
from qwen3cpu.server.scheduling.text_jobs import States, TextJob
from qwen3cpu.server.scheduling.turns import Turns

STATE_BYTES: Final = 1 << 30
"""Bytes that the states of all requests may take until their replies are sent."""
SMALL: Final = 1 << 20
"""A request whose states take at most this many bytes never waits for memory."""
_LOOK_AGAIN: Final = 0.1  # seconds between two checks while requests wait for memory and nothing runs

TextDelivery: TypeAlias = "Sequence[tuple[TextJob, States | Exception]]"


class TextScheduler(ModelThread[TextJob]):
    """Runs jobs on its own thread, from `start` to `stop`.

    Args:
        engine: the model's engine.
        limits: the limits of jobs and memory.
        deliver: called on the scheduler's thread with the jobs that a pass has ended; must return at once.
        pace: decides how large passes are.
        turns: shares the processor among models; None: no other model uses it.

    Raises:
        ArgumentError: the KV memory does not hold one full context.
    """

    def __init__(
        self,
        engine: Engine,
        limits: SchedulerLimits,
        deliver: Callable[[TextDelivery], None],
        pace: TextPace | None = None,
        turns: Turns | None = None,
    ) -> None:
        # A job keeps its place in the queue until it ends. All jobs with a place take turns, so none waits for
        # another's end.
        super().__init__(engine, limits.queue + limits.parallel, limits.kv_bytes, turns)
        self._engine = engine
        self._parallel = limits.parallel
        self._deliver = deliver
        self._pace = pace or TextPace()
        self._waiting: list[TextJob] = []
        self._ring: list[TextJob] = []  # in the order of their next turns
        self._news: list[tuple[TextJob, States | Exception]] = []
        self._memory = threading.Lock()
        self._charged: set[TextJob] = set()

    # For other threads

    @property
    def running(self) -> int:
        """The number of requests in work."""
        return len(self._ring)

    @property
    def queued(self) -> int:
        """The number of requests that wait."""
        return max(0, super().queued - len(self._ring))

    @property
    def free_places(self) -> int:
        """Always 0, because a request in work keeps its place in the queue."""
        return 0

    def wait_seconds(self, requests: int) -> float:
        """See ModelThread. It is computed from the mean time of the last requests."""
        return requests / self._parallel * self.stats.mean_job_seconds

    def release(self, job: TextJob) -> None:
        """Free the memory of a job's states. A job that has not ended is dropped before the next pass."""
        with self._memory:
            self._charged.discard(job)
            job.cancelled = True
        self.wake()

    # On the scheduler's thread

    def work(self) -> None:
        """Run passes until the end."""
        while True:
            self._take_in()
            if self._ring:
                with self.turns.turn():
                    self._step()
            self._tell()
            if not self._ring:
                if self.stopping and not self.queued:
                    return
                self.wait(_LOOK_AGAIN if self.queued else None)
                self.looked()

    def fail(self, error: Exception) -> None:
        """End all jobs."""
        for job in [*self._waiting, *self._ring, *chain.from_iterable(self.fetch())]:
            self._end(job, error)
        self._tell()

    def _tell(self) -> None:
        if self._news:
            news, self._news = self._news, []
            self._deliver(news)

    def _take_in(self) -> None:
        """Drop jobs that are over, and start those whose states fit into memory."""
        self._waiting += chain.from_iterable(self.fetch())
        now = perf_counter()
        for job in [job for job in (*self._waiting, *self._ring) if self.is_over(job, now)]:
            self._end(job, self.reason(job, now))
        for job in list(self._waiting):
            if self._charge(job):
                self._waiting.remove(job)
                self._ring.append(job)
                self.stats.began(job)

    def _charge(self, job: TextJob) -> bool:
        """Reserve memory for a job's states. Returns whether there was enough."""
        with self._memory:
            taken = sum(other.state_bytes for other in self._charged)
            if job.cancelled or (job.state_bytes > SMALL and taken + job.state_bytes > STATE_BYTES and self._charged):
                return False
            self._charged.add(job)
            return True

    def _end(self, job: TextJob, outcome: States | Exception | None) -> None:
        """End a job. outcome: its states, an error, or None if it was cancelled."""
        for jobs in (self._waiting, self._ring):
            if job in jobs:
                jobs.remove(job)
        job.close_window()
        self.leave_queue()
        self.stats.ended(job, outcome if isinstance(outcome, Exception) else None)
        if outcome is not None:
            self._news.append((job, outcome))

    # A pass

    def _step(self) -> None:
        batch, turns = self._fill()
        start = perf_counter()
        try:
            rows = self._engine.forward(batch)
        except Exception as error:
            # All jobs of the pass end, because it is unknown which one caused the error.
            for job in turns:
                self._end(job, error)
            return
        tokens, seconds = sum(len(item.ids) for item in batch), perf_counter() - start
        self._pace.note(tokens, seconds)
        self.stats.stepped(seconds, len(turns), tokens)
        for job, places in turns.items():
            window = job.open_window(self._engine)
            self.stats.texts += window.receive([rows[place] for place in places])
            if window.done:
                job.close_window()
            if not job.unfinished:
                self._end(job, job.states)

    def _fill(self) -> tuple[list[BatchItem], dict[TextJob, list[int]]]:
        """The items of the next pass, and the places of each job's items. These jobs move to the end of the ring."""
        batch: list[BatchItem] = []
        turns: dict[TextJob, list[int]] = {}
        room = self._pace.tokens
        turn = max(LEAST_PIECE, room // len(self._ring))
        free = self.kv_blocks - sum(job.window.blocks for job in self._ring if job.window is not None)
        takers = list(self._ring)
        while takers and room:
            takers, asked = [], takers
            starved = False
            for job in asked:
                window = job.open_window(self._engine)
                if window.blocks_to_go_on > free and not starved:
                    free += self._pause_after(job)
                if window.blocks_to_go_on and (starved or window.blocks_to_go_on > free):
                    # No job behind it may start a text with the blocks that it waits for.
                    starved = True
                    continue
                before = window.blocks
                items = window.take(min(room, turn), 0 if starved else free)
                free -= window.blocks - before
                if items:
                    room -= sum(len(item.ids) for item in items)
                    turns.setdefault(job, []).extend(range(len(batch), len(batch) + len(items)))
                    batch += items
                    takers.append(job)
        self._ring = [job for job in self._ring if job not in turns] + list(turns)
        return batch, turns

    def _pause_after(self, job: TextJob) -> int:
        """Pause the windows of the jobs behind a job. Returns the number of freed blocks."""
        freed = 0
        for other in self._ring[self._ring.index(job) + 1 :]:
            if other.window is not None:
                before = other.window.blocks
                other.window.pause()
                freed += before - other.window.blocks
        return freed
