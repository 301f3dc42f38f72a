"""The hidden states of a request's texts, as an endpoint waits for them on the event loop."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence

from qwen3cpu.server.scheduling.jobs import nobody
from qwen3cpu.server.scheduling.text_jobs import States, TextJob
from qwen3cpu.server.scheduling.text_scheduler import TextScheduler


class TextStates:
    """A job that is under way.

    Args:
        scheduler: of the model.
        texts: see TextJob.
        state_bytes: see TextJob.
        timeout: seconds of the request from its arrival.
        created: when it arrived, on the clock of perf_counter.

    Raises:
        QueueFullError, ShuttingDownError: nothing is under way then.
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
        """When the request has to be done, on the clock of perf_counter."""
        return self._job.deadline

    def tokens_left(self, mean: int) -> int:
        """Tokens of the texts while they are under way. mean: of answers, which there are none of."""
        return 0 if self._outcome.done() else sum(map(len, self._job.texts))

    async def ready(self) -> States:
        """All states. Raises what ended the job before its time."""
        return await self._outcome

    def close(self) -> None:
        """Nobody needs the states any more: give their memory back, and drop what is under way."""
        self._outcome.cancel()
        self._scheduler.release(self._job)
        self._job.sink = nobody  # without a circle of references the memory goes back with the last of them
