"""Runs jobs concurrently within the memory of the KV cache, on the calling thread.

The server's scheduler also limits the time of steps, cuts jobs off, and takes them from other threads. No client waits
for a token of these jobs, so steps are as large as possible, and less work is done between them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from qwen3cpu.engine.formats import KV_BLOCK
from qwen3cpu.engine.sequence import block_count
from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.answer import Answer
from qwen3cpu.generation.batch import Batch
from qwen3cpu.generation.surroundings import Surroundings
from qwen3cpu.server.scheduling.jobs import Job, Outcome
from qwen3cpu.server.scheduling.scheduler import Scheduler, SchedulerLimits
from qwen3cpu.server.scheduling.scored import ScoredAnswer

MOST_ANSWERS: Final = 16
"""The largest number of answers to one prompt."""
MOST_RUNNING: Final = 64
"""The largest number of answers at the same time. More gain little, and a kill loses all of them."""
MOST_SMALL: Final = 16
"""The same for a small model, whose weights stay in the processor's cache. More answers would only take that cache."""
SMALL: Final = 32 << 20
"""A model is small if its weights have fewer bytes."""


class JobList(Scheduler):
    """Takes jobs like a scheduler, and keeps them for `Runner`."""

    def __init__(self, model: Surroundings, limits: SchedulerLimits) -> None:
        super().__init__(model, limits, lambda news: None)
        self.jobs: deque[Job] = deque()
        """The submitted jobs."""

    def submit(self, *jobs: Job) -> None:
        """Submit jobs. ArgumentError for more answers than a line may have."""
        for job in jobs:
            if job.answers > MOST_ANSWERS:
                raise ArgumentError(f"n: expected at most {MOST_ANSWERS} answers, found {job.answers}")
        self.jobs += jobs


class _Waiting(NamedTuple):
    """A job that waits for room. answers: its preempted answers; None if it has not started."""

    job: Job
    answers: Sequence[Answer] | None

    @property
    def tokens(self) -> int:
        """The tokens that are processed before its next token."""
        return len(self.job.prompt if self.answers is None else self.answers[0].pending)


class Runner:
    """Runs jobs.

    Args:
        model: engine, tokenizer and end tokens.
        kv_blocks: KV cache blocks that may be in use; at least those of a full context and one more.
        most: the largest number of answers at the same time, at least MOST_ANSWERS.
    """

    def __init__(self, model: Surroundings, kv_blocks: int, most: int) -> None:
        self._model = model
        self._engine = model.engine
        self._kv_blocks = kv_blocks
        self._most = most
        self._batch = Batch(model.engine)
        self._jobs: dict[Answer, Job] = {}
        self._watched: set[Job] = set()
        self._waiting: deque[_Waiting] = deque()

    def add(self, job: Job, *, every_chunk: bool) -> None:
        """Start a job when there is room, after the earlier ones.

        every_chunk: `step` returns every chunk of its answers, not only the last.
        """
        self._waiting.append(_Waiting(job, None))
        if every_chunk:
            self._watched.add(job)

    def drop(self, job: Job) -> None:
        """Remove the answers of a job that have not ended."""
        self._watched.discard(job)
        for answer in [answer for answer, owner in self._jobs.items() if owner is job]:
            del self._jobs[answer]
            if answer in self._batch.running:
                self._batch.remove(answer)
        if any(each.job is job for each in self._waiting):
            self._waiting = deque(each for each in self._waiting if each.job is not job)

    def step(self) -> list[tuple[Job, Outcome]]:
        """Run one forward pass. Returns the outcome of each answer that ended, and the chunks of jobs with
        `every_chunk`.

        Raises:
            Qwen3CpuError: the pass failed.
        """
        self._admit()
        self._make_room()
        news: list[tuple[Job, Outcome]] = []
        for answer, outcome in self._batch.advance():
            job = self._jobs[answer]
            if isinstance(outcome, Exception) or outcome.result is not None:
                del self._jobs[answer]
            elif job not in self._watched:
                continue
            news.append((job, outcome))
        return news

    def close(self) -> None:
        """Free all memory."""
        self._batch.close()

    def _admit(self) -> None:
        while self._waiting:
            job, answers = first = self._waiting[0]
            count = job.answers if answers is None else len(answers)
            running = len(self._batch)
            if running and (running + count > self._most or not self._reserve(first.tokens, running + count)):
                return
            self._waiting.popleft()
            joining = self._made(job) if answers is None else answers
            self._jobs.update((answer, job) for answer in joining)
            self._batch.add(*joining)

    def _made(self, job: Job) -> list[Answer]:
        kind: Callable[..., Answer] = Answer
        if job.score_prompt or not job.sample:
            kind = partial(ScoredAnswer, sample=job.sample)
        return [kind(self._model, job.prompt, job.request, index=i, stream=i) for i in range(job.answers)]

    def _make_room(self) -> None:
        """Preempt the youngest answers until the next step fits. One answer alone always fits."""
        while not self._reserve(0, len(self._batch)) and len(self._batch.running) > 1:
            youngest = self._batch.running[-1]
            followers = self._batch.remove(youngest)
            youngest.preempt()
            self._waiting.appendleft(_Waiting(self._jobs[youngest], [youngest, *followers]))

    def _reserve(self, tokens: int, answers: int) -> bool:
        """Free blocks of the prefix cache if necessary, and return whether a prompt and a step of the answers fit."""
        # A step has as many tokens as the chunk, and one more of each answer. An answer may begin one block, and copy
        # one that it shares.
        needed = block_count(tokens) + self._batch.chunk // KV_BLOCK + 3 * answers + 1
        missing = needed + self._engine.kv_blocks_in_use - self._kv_blocks
        if missing > 0:
            missing -= (
                self._engine.prefix_cache.evict(missing * self._engine.kv_block_bytes) // self._engine.kv_block_bytes
            )
        return missing <= 0
