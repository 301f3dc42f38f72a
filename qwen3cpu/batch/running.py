"""Jobs side by side within the memory of the KV cache, on the thread that calls.

The server's scheduler does more: it shares time out, cuts jobs off, and takes them from other threads. Nobody waits for
a token of these jobs, so steps are as large as they like, and nothing is done between them that need not be.
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
"""Answers to one prompt."""
MOST_RUNNING: Final = 64
"""Answers side by side at most. More gain little, and all of them are begun again after a kill."""
MOST_SMALL: Final = 16
"""The same for a model whose weights stay in the processor's cache: company gains it nothing, and takes that cache."""
SMALL: Final = 32 << 20
"""Bytes of weights of such a model."""


class JobList(Scheduler):
    """Takes jobs as a scheduler does, for somebody else who runs them."""

    def __init__(self, model: Surroundings, limits: SchedulerLimits) -> None:
        super().__init__(model, limits, lambda news: None)
        self.jobs: deque[Job] = deque()
        """Those that were handed in."""

    def submit(self, job: Job) -> None:
        """Hand a job in. ArgumentError: more answers than a line may have."""
        if job.answers > MOST_ANSWERS:
            raise ArgumentError(f"n: expected at most {MOST_ANSWERS} answers, found {job.answers}")
        self.jobs.append(job)


class _Waiting(NamedTuple):
    """What waits for room. answers: those that had begun and gave their memory back; None: none has."""

    job: Job
    answers: Sequence[Answer] | None

    @property
    def tokens(self) -> int:
        """To be processed before it says something."""
        return len(self.job.prompt if self.answers is None else self.answers[0].pending)


class Runner:
    """Runs jobs.

    Args:
        model: engine, tokenizer and end tokens.
        kv_blocks: of the KV cache that may be in use; at least those of a full context and one more.
        most: answers side by side, at least MOST_ANSWERS.
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
        """Let a job begin when there is room, after those that came before.

        every_chunk: steps tell what each token brought, and not only how an answer ended.
        """
        self._waiting.append(_Waiting(job, None))
        if every_chunk:
            self._watched.add(job)

    def drop(self, job: Job) -> None:
        """End what is left of a job, if anything is."""
        self._watched.discard(job)
        for answer in [answer for answer, owner in self._jobs.items() if owner is job]:
            del self._jobs[answer]
            if answer in self._batch.running:
                self._batch.remove(answer)
        if any(each.job is job for each in self._waiting):
            self._waiting = deque(each for each in self._waiting if each.job is not job)

    def step(self) -> list[tuple[Job, Outcome]]:
        """One forward pass and what it brought that matters: an answer is over with its result, or with an error.

        Raises:
            Qwen3CpuError: the pass itself has failed.
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
        """Give all memory back."""
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
        """Let the youngest give their memory back until the next step fits; one alone always does."""
        while not self._reserve(0, len(self._batch)) and len(self._batch.running) > 1:
            youngest = self._batch.running[-1]
            followers = self._batch.remove(youngest)
            youngest.preempt()
            self._waiting.appendleft(_Waiting(self._jobs[youngest], [youngest, *followers]))

    def _reserve(self, tokens: int, answers: int) -> bool:
        """Whether a prompt of so many tokens and a step of so many answers fit, if the prefix cache gives way."""
        # A step has as many tokens as the chunk, and one of each answer beyond. An answer may begin one block, and copy
        # one that it shares.
        needed = block_count(tokens) + self._batch.chunk // KV_BLOCK + 3 * answers + 1
        missing = needed + self._engine.kv_blocks_in_use - self._kv_blocks
        if missing > 0:
            missing -= (
                self._engine.prefix_cache.evict(missing * self._engine.kv_block_bytes) // self._engine.kv_block_bytes
            )
        return missing <= 0
