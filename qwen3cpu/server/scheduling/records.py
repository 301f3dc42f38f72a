"""The record of the answers to one request: times, counts and reasons, without their text."""

from __future__ import annotations

from time import perf_counter

from qwen3cpu.generation.results import Chunk


class AnswersRecord:
    """Collects figures while answers arrive, on the event loop."""

    def __init__(self) -> None:
        self.first_token: float | None = None
        """Time of the first token, on the clock of perf_counter."""
        self.input_tokens = 0
        """Tokens of the prompts, each prompt counted once."""
        self.cached_tokens = 0
        """Those input tokens that were found in the prefix cache."""
        self.output_tokens = 0
        self.reasoning_tokens = 0
        """Those output tokens that are reasoning."""
        self.finish_reasons: dict[int, str] = {}
        """The finish reason of each choice."""
        self.error: Exception | None = None
        """The error that ended a prompt's answers early."""

    def note(self, first: int, outcome: Chunk | Exception) -> None:
        """Note an outcome of a prompt. first: the number of the prompt's first choice."""
        if isinstance(outcome, Exception):
            self.error = outcome
            return
        if self.first_token is None:
            self.first_token = perf_counter()
        result = outcome.result
        if result is None:
            return
        calls = bool(result.tool_calls) and result.finish_reason == "stop"
        self.finish_reasons[first + result.index] = "tool_calls" if calls else result.finish_reason
        self.output_tokens += result.usage.completion_tokens
        self.reasoning_tokens += result.usage.reasoning_tokens
        if result.index == 0:
            self.input_tokens += result.usage.prompt_tokens
            self.cached_tokens += result.usage.cached_tokens
