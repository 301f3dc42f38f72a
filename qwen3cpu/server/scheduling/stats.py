"""Counters of a scheduler: jobs, tokens and times. Its thread writes them, others read them without a lock."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from time import perf_counter
from typing import Protocol

from qwen3cpu.generation.results import Chunk, Result
from qwen3cpu.server.scheduling.jobs import Job

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5)
BUCKETS = (*_SHORT, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Upper bounds in seconds."""
TOKEN_BUCKETS = tuple(float(digit * 10**power) for power in range(6) for digit in (1, 2, 5))
"""Upper bounds in tokens."""


class Counted(Protocol):
    """The attributes of a job that are counted."""

    created: float
    """Time of its arrival, on the clock of perf_counter."""
    unfinished: int
    """The number of answers that have not ended."""


class Histogram:
    """Counts of values by buckets, and their sum. One thread notes values, others read them without a lock.

    Args:
        bounds: upper bounds of the buckets, ascending.
    """

    def __init__(self, bounds: tuple[float, ...] = BUCKETS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """One count for each bucket, and one for values above the last bound."""
        self.sum = 0.0

    def note(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Stats:
    """Counters since the start."""

    def __init__(self) -> None:
        self.jobs: Counter[str] = Counter()
        """Jobs by outcome: finished, cancelled, failed."""
        self.answers: Counter[str] = Counter()
        """Answers that ended, by finish_reason."""
        self.prompt_tokens = 0
        """Tokens of prompts that were processed, including those processed again after a preemption."""
        self.cached_tokens = 0
        """Tokens of prompts that were taken from a kept prefix."""
        self.completion_tokens = 0
        self.drafted = 0
        """Drafted tokens that were checked, of answers that have ended."""
        self.accepted = 0
        """Drafted tokens that were accepted."""
        self.texts = 0
        """Texts that were turned into vectors or scored."""
        self.preemptions = 0
        self.queue_seconds = Histogram()
        """Seconds from the arrival of a job until it joins the batch."""
        self.first_token_seconds = Histogram()
        """Seconds from the arrival of a job until its first token."""
        self.job_seconds = Histogram()
        """Seconds from the arrival of a job to its end, for finished jobs only."""
        self.step_seconds = Histogram()
        """Steps with running answers (the time between two tokens of a stream), and passes over texts."""
        self.token_seconds = Histogram()
        """The mean time of a token after the first, one value for each answer."""
        self.request_prompt_tokens = Histogram(TOKEN_BUCKETS)
        """Tokens of the answered prompts."""
        self.request_completion_tokens = Histogram(TOKEN_BUCKETS)
        """Tokens of the answers."""
        self.mean_job_seconds = 1.0
        """The moving average over the last jobs that finished."""

    def began(self, job: Counted) -> None:
        """Note that a job has joined the batch."""
        self.queue_seconds.note(perf_counter() - job.created)

    def stepped(self, seconds: float, running: int, prompt_tokens: int) -> None:
        """Note a step, its seconds and its tokens."""
        self.prompt_tokens += prompt_tokens
        if running:
            self.step_seconds.note(seconds)

    def received(self, job: Job, chunk: Chunk) -> None:
        """Note a chunk of a job."""
        if not job.begun:
            job.begun = True
            self.first_token_seconds.note(perf_counter() - job.created)
        self.completion_tokens += len(chunk.token_ids)
        if chunk.result is not None:
            self._answered(chunk.result)

    def _answered(self, result: Result) -> None:
        """Note an answer that has ended."""
        usage = result.usage
        self.answers[result.finish_reason] += 1
        self.request_completion_tokens.note(usage.completion_tokens)
        self.drafted += result.timings.drafted
        self.accepted += result.timings.accepted
        if usage.completion_tokens > 1:
            self.token_seconds.note(result.timings.decode_seconds / (usage.completion_tokens - 1))
        if result.index == 0:
            self.cached_tokens += usage.cached_tokens
            self.request_prompt_tokens.note(usage.prompt_tokens)

    def ended(self, job: Counted, error: Exception | None) -> None:
        """Note that a job is over. error: what ended it early, if an error did."""
        outcome = "failed" if error is not None else "cancelled" if job.unfinished else "finished"
        self.jobs[outcome] += 1
        if outcome == "finished":
            seconds = perf_counter() - job.created
            self.job_seconds.note(seconds)
            self.mean_job_seconds += 0.2 * (seconds - self.mean_job_seconds)
