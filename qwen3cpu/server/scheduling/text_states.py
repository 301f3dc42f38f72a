"""The hidden states of a request's texts, for which an endpoint waits on the event loop."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence

from qwen3cpu.server.scheduling.jobs import nobody
from qwen3cpu.server.scheduling.text_jobs import States, TextJob
from qwen3cpu.server.scheduling.text_scheduler import TextScheduler


class TextStates:
    """A submitted job, and its result.

    Args:
        scheduler: the model's scheduler.
        texts: see TextJob.
        state_bytes: see TextJob.
        timeout: seconds that the request may take from its arrival.
        created: the request's arrival on the clock of perf_counter.

    Raises:
        QueueFullError, ShuttingDownError: the job was not submitted.
    """

    def __init__(
        self,
        scheduler: TextScheduler,
        texts: Sequence[array[int]],
        state_bytes: int,
        *,
        timeout: float,
        created: float,
    ) -> None:
        self._scheduler = scheduler
        self._outcome: asyncio.Future[States] = asyncio.get_running_loop().create_future()
        self._job = TextJob(texts, self._receive, timeout, state_bytes, created)
        scheduler.submit(self._job)

    def _receive(self, outcome: States | Exception) -> None:
        if self._outcome.done():
            return
        if isinstance(outcome, Exception):
            self._outcome.set_exception(outcome)
        else:
            self._outcome.set_result(outcome)

    @property
    def deadline(self) -> float:
        """The time by which the request must end, on the clock of perf_counter."""
        return self._job.deadline

    def tokens_left(self, mean: int) -> int:
        """Tokens of the texts until the job ends, then 0. mean: unused; answers need it."""
        return 0 if self._outcome.done() else sum(map(len, self._job.texts))

    async def ready(self) -> States:
        """Wait for all states. Raises the error that ended the job early."""
        return await self._outcome

    def close(self) -> None:
        """Free the memory of the states, and cancel the job if it has not ended."""
        self._outcome.cancel()
        self._scheduler.release(self._job)
        self._job.sink = nobody  # breaks a reference cycle, so that the memory is freed with the last reference
