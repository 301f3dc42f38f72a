"""A job of the scheduler (one prompt with its options), and the errors that may end it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

from qwen3cpu.errors import Qwen3CpuError
from qwen3cpu.generation.options import Request
from qwen3cpu.generation.results import Chunk, TokenLogprob


class QueueFullError(Qwen3CpuError):
    """Too many requests are waiting.

    Args:
        waiting: the number of waiting requests.
        retry_after: seconds after which a client may try again.
    """

    def __init__(self, waiting: int, retry_after: int) -> None:
        super().__init__(f"the queue is full: {waiting} requests are waiting; try again in {retry_after} seconds")
        self.retry_after = retry_after


class TimeLimitError(Qwen3CpuError):
    """A request took longer than the server allows."""


class ShuttingDownError(Qwen3CpuError):
    """The server is shutting down. It refuses new requests, and cuts off those that outlast the grace period."""


Outcome = Chunk | Exception


def nobody(outcome: object) -> None:
    """The sink of a job whose outcomes are not needed."""


@dataclass(eq=False)
class Job:
    """A prompt, its options, and where its answers go.

    Attributes:
        prompt: token ids, at least one, fewer than the context.
        request: checked options, with a seed; `n` answers.
        sink: gets every chunk of every answer. An exception is the last outcome.
        timeout: seconds that it may take from its creation to its end.
        score_prompt: report the log-probability of each prompt token before the answer.
        sample: False: process the prompt only.
    """

    prompt: list[int]
    request: Request
    sink: Callable[[Outcome], None]
    timeout: float
    score_prompt: bool = False
    sample: bool = True
    created: float = field(default_factory=perf_counter)
    number: int = 0
    """Place in the order of arrival."""
    cancelled: bool = False
    """Set from any thread; the scheduler drops the job before its next step."""
    unfinished: int = 0
    """The number of answers that have not ended."""
    begun: bool = False
    """Whether it has a token."""
    prompt_scores: list[TokenLogprob] = field(default_factory=list)
    """With score_prompt: one for each prompt token but the first. Complete when the first chunk arrives."""

    def __post_init__(self) -> None:
        self.unfinished = self.answers

    @property
    def answers(self) -> int:
        """The number of answers that it asks for."""
        return self.request.n or 1

    @property
    def deadline(self) -> float:
        """The time by which it must end, on the clock of perf_counter."""
        return self.created + self.timeout
