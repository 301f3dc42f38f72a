"""Counters of a scheduler: jobs, tokens and times. Its thread writes them, others read them without a lock."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from time import perf_counter
from typing import Protocol

from qwen3cpu.generation.results import Chunk
from qwen3cpu.server.scheduling.jobs import Job

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds in seconds."""


class Counted(Protocol):
    """A job, as far as it is counted."""

    created: float
    """When it arrived, on the clock of perf_counter."""
    unfinished: int
    """Answers that have not ended."""


class Histogram:
    """Counts of seconds by the buckets of BUCKETS, and their sum."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        """One for each bucket, and one for what is longer than the last."""
        self.sum = 0.0

    def note(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds


class Stats:
    """Counters since the start."""

    def __init__(self) -> None:
        self.jobs: Counter[str] = Counter()
        """By how they ended: finished, cancelled, failed."""
        self.prompt_tokens = 0
        """Tokens of prompts that were processed, also those processed again after a preemption."""
        self.cached_tokens = 0
        """Tokens of prompts that were taken from a kept prefix."""
        self.completion_tokens = 0
        self.texts = 0
        """Texts that were turned into vectors or scored."""
        self.preemptions = 0
        self.queue_seconds = Histogram()
        """From the arrival of a job until it joins the batch."""
        self.first_token_seconds = Histogram()
        """From the arrival of a job until its first token."""
        self.job_seconds = Histogram()
        """From the arrival of a job to its end, finished ones only."""
        self.step_seconds = Histogram()
        """Steps with running answers (the time between two tokens of a stream), and passes over texts."""
        self.mean_job_seconds = 1.0
        """Of the last jobs that finished."""

    def began(self, job: Counted) -> None:
        """A job has joined the batch."""
        self.queue_seconds.note(perf_counter() - job.created)

    def stepped(self, seconds: float, running: int, prompt_tokens: int) -> None:
        """A step has been made."""
        self.prompt_tokens += prompt_tokens
        if running:
            self.step_seconds.note(seconds)

    def received(self, job: Job, chunk: Chunk) -> None:
        """A job has got a chunk."""
        if not job.begun:
            job.begun = True
            self.first_token_seconds.note(perf_counter() - job.created)
        self.completion_tokens += len(chunk.token_ids)
        if chunk.result is not None and chunk.index == 0:
            self.cached_tokens += chunk.result.usage.cached_tokens

    def ended(self, job: Counted, error: Exception | None) -> None:
        """A job is over."""
        outcome = "failed" if error is not None else "cancelled" if job.unfinished else "finished"
        self.jobs[outcome] += 1
        if outcome == "finished":
            seconds = perf_counter() - job.created
            self.job_seconds.note(seconds)
            self.mean_job_seconds += 0.2 * (seconds - self.mean_job_seconds)
