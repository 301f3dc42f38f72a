"""Continuous batching: one thread that owns a model and decides, step by step, whose tokens share a forward pass.

A new job joins at the next step. Waiting requests take turns: one prompt of each, then the next one. Prompts are cut so
that a step with running answers stays short (pace.py). When the KV cache would exceed its limit, blocks of the prefix
cache are freed first. Then the youngest answers are preempted: their blocks are freed, and their tokens are processed
again later. None of this changes an answer, because a token's logits depend on its own sequence only.

Other threads submit jobs and cancel them. No lock is taken for a token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from time import perf_counter

from qwen3cpu.engine.sequence import block_count
from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.answer import Answer
from qwen3cpu.generation.batch import MOST_RUNNING, Batch
from qwen3cpu.generation.surroundings import Surroundings
from qwen3cpu.server.scheduling.jobs import Job, Outcome
from qwen3cpu.server.scheduling.model_thread import ModelThread
from qwen3cpu.server.scheduling.pace import Pace
from qwen3cpu.server.scheduling.scored import ScoredAnswer
from qwen3cpu.server.scheduling.turns import Turns

Delivery = Sequence[tuple[Job, Outcome]]


@dataclass(frozen=True)
class SchedulerLimits:
    """The limits of a scheduler.

    Attributes:
        parallel: the largest number of answers at the same time.
        queue: the largest number of waiting requests, besides the running ones.
        kv_bytes: memory of the KV cache; at least what one full context needs.
    """

    parallel: int = MOST_RUNNING
    queue: int = 64
    kv_bytes: int = 1 << 33


class Scheduler(ModelThread[Job]):
    """Runs jobs on its own thread, from `start` to `stop`.

    Args:
        model: engine, tokenizer and end tokens.
        limits: the limits of answers, jobs and memory.
        deliver: called on the scheduler's thread after each step with all outcomes of the step; must return at once.
        pace: decides how prompts are cut.
        turns: shares the processor among models; None: no other model uses it.

    Raises:
        ArgumentError: the KV memory does not hold one full context.
    """

    def __init__(
        self,
        model: Surroundings,
        limits: SchedulerLimits,
        deliver: Callable[[Delivery], None],
        pace: Pace | None = None,
        turns: Turns | None = None,
    ) -> None:
        super().__init__(model.engine, limits.queue, limits.kv_bytes, turns)
        self._model = model
        self._limits = limits
        self._deliver = deliver
        self._pace = pace or Pace()
        self._batch = Batch(model.engine)
        self._jobs: dict[Answer, Job] = {}
        self._preempted: list[tuple[Answer, Sequence[Answer]]] = []
        self._waiting: deque[deque[Job]] = deque()  # the waiting jobs of each request
        self._news: list[tuple[Job, Outcome]] = []

    # For other threads

    @property
    def running(self) -> int:
        """The number of answers in the batch."""
        return len(self._batch)

    def submit(self, *jobs: Job) -> None:
        """Submit the jobs of one request, which have the same time limit and are cancelled together.

        Raises:
            ArgumentError: more answers than may run at the same time. QueueFullError, ShuttingDownError.
        """
        for job in jobs:
            if job.answers > self._limits.parallel:
                raise ArgumentError(f"n: expected at most {self._limits.parallel} answers, found {job.answers}")
        super().submit(*jobs)

    @property
    def free_places(self) -> int:
        """The number of answers that could start at once."""
        return max(0, self._limits.parallel - self.running)

    def wait_seconds(self, requests: int) -> float:
        """See ModelThread. It is computed from the mean time of the last jobs."""
        return requests / self._limits.parallel * self.stats.mean_job_seconds

    # On the scheduler's thread

    def fail(self, error: Exception) -> None:
        """End all jobs."""
        for job in {*chain(*self._waiting, *self.fetch()), *self._jobs.values()}:
            self._news.append((job, error))
        self._tell()
        self._batch.close()

    def work(self) -> None:
        """Run steps until the end."""
        with self._model.engine.traffic.asking(lambda: bool(self.queued) or self.turns.wanted):
            self._steps()

    def _steps(self) -> None:
        while True:
            self._drop_dead()
            self._admit()
            if len(self._batch):
                with self.turns.turn() as shared:
                    self._step(shared)
            self._tell()
            if not len(self._batch) and not self._preempted:
                if self.stopping and not self.queued:
                    return
                if not self.queued:
                    self.wait()
                self.looked()

    def _tell(self) -> None:
        if self._news:
            news, self._news = self._news, []
            self._deliver(news)

    def _drop_dead(self) -> None:
        """Remove jobs that were cancelled or have no time left."""
        self._waiting += map(deque, self.fetch())
        now = perf_counter()
        for jobs in [jobs for jobs in self._waiting if self.is_over(jobs[0], now)]:
            self._waiting.remove(jobs)
            self.leave_queue()
            error = self.reason(jobs[0], now)
            for job in jobs:
                self._end(job, error)
        for job in {job for job in self._jobs.values() if self.is_over(job, now)}:
            self._end(job, self.reason(job, now))

    def _end(self, job: Job, error: Exception | None) -> None:
        """End a job before its answers are complete; error None: it was cancelled."""
        for answer in [answer for answer, owner in self._jobs.items() if owner is job]:
            del self._jobs[answer]
            if answer in self._batch.running:
                self._batch.remove(answer)
        self._preempted = [(first, rest) for first, rest in self._preempted if first in self._jobs]
        self.stats.ended(job, error)
        if error is not None:
            self._news.append((job, error))

    # Who joins

    def _admit(self) -> None:
        """While there is room, admit preempted answers, the oldest first, and then a job of each waiting request."""
        while self._preempted:
            answer, followers = min(self._preempted, key=lambda entry: self._age(entry[0]))
            if not self._fits(len(answer.pending), 1 + len(followers)):
                return
            self._preempted.remove((answer, followers))
            self._batch.add(answer, *followers)
        while self._waiting:
            job = self._waiting[0][0]
            if not self._fits(len(job.prompt), job.answers):
                return
            jobs = self._waiting.popleft()
            jobs.popleft()
            if jobs:
                self._waiting.append(jobs)  # the other requests come first
            else:
                self.leave_queue()
            try:
                answers = self._make_answers(job)
            except Exception as error:
                self._end(job, error)
                continue
            self._jobs.update((answer, job) for answer in answers)
            self._batch.add(*answers)
            self.stats.began(job)

    def _make_answers(self, job: Job) -> list[Answer]:
        kind: Callable[..., Answer] = Answer
        if job.score_prompt or not job.sample:
            kind = partial(ScoredAnswer, sample=job.sample)
        return [kind(self._model, job.prompt, job.request, index=i, stream=i) for i in range(job.answers)]

    def _fits(self, tokens: int, answers: int) -> bool:
        """Whether answers to a prompt may join. Beside other answers, every answer must have a spare block."""
        if not len(self._batch):
            return True
        if len(self._batch) + answers > self._limits.parallel:
            return False
        return self._reserve(block_count(tokens) + 2 * answers + len(self._batch))

    def _age(self, answer: Answer) -> tuple[int, int]:
        return self._jobs[answer].number, answer.index

    # Memory

    def _free_blocks(self) -> int:
        return self.kv_blocks - self.kv_blocks_in_use

    def _reserve(self, blocks: int) -> bool:
        """Free blocks of the prefix cache if necessary, and return whether this many blocks are free."""
        missing = blocks - self._free_blocks()
        if missing > 0:
            self._model.engine.prefix_cache.evict(missing * self._model.engine.kv_block_bytes)
        return blocks <= self._free_blocks()

    def _make_room(self) -> None:
        """Preempt the youngest answers until the next step fits. The oldest answer always fits alone."""
        while not self._reserve(self._blocks_needed()) and len(self._batch.running) > 1:
            youngest = max(self._batch.running, key=self._age)
            followers = self._batch.remove(youngest)
            youngest.preempt()
            self._preempted.append((youngest, followers))
            self.stats.preemptions += 1

    def _blocks_needed(self) -> int:
        """New blocks that the next step may take, one more for each answer whose last block may be shared."""
        needed = 0
        for answer in self._batch.running:
            count = min(len(answer.pending), self._batch.chunk)
            length = answer.sequence.length
            needed += block_count(length + count) - block_count(length) + 1
        return needed

    # A step

    def _step(self, shared: bool) -> None:
        self._batch.chunk = self._pace.chunk(self._running_tokens(), shared)
        self._make_room()
        running, before = self._running_tokens(), self._batch.prompt_tokens
        start = perf_counter()
        try:
            outcomes = self._batch.advance()
        except Exception as error:
            # The pass failed, and with it every job, because it is unknown which job caused the error.
            for job in set(self._jobs.values()):
                self._end(job, error)
            return
        seconds = perf_counter() - start
        prompt_tokens = self._batch.prompt_tokens - before
        self._pace.note(running, prompt_tokens, seconds)
        self.stats.stepped(seconds, running, prompt_tokens)
        self._pass_on(outcomes)

    def _running_tokens(self) -> int:
        """The number of tokens that running answers feed in the next step."""
        return sum(len(answer.pending) for answer in self._batch.running if not answer.catching_up)

    def _pass_on(self, outcomes: Iterable[tuple[Answer, Outcome]]) -> None:
        for answer, outcome in outcomes:
            job = self._jobs.get(answer)
            if job is None:
                continue  # an earlier outcome of this step has ended its job
            if isinstance(outcome, Exception):
                self._end(job, outcome)
                continue
            if isinstance(answer, ScoredAnswer) and answer.prompt_scores:
                job.prompt_scores = answer.prompt_scores
            self._news.append((job, outcome))
            self.stats.received(job, outcome)
            if outcome.result is not None:
                del self._jobs[answer]
                job.unfinished -= 1
                if not job.unfinished:
                    self.stats.ended(job, None)
