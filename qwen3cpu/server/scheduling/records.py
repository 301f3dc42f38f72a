"""What the answers to one request came to: times, counts and reasons, and nothing of their text."""

from __future__ import annotations

from time import perf_counter

from qwen3cpu.generation.results import Chunk


class AnswersRecord:
    """Kept while answers come, on the event loop."""

    def __init__(self) -> None:
        self.first_token: float | None = None
        """When the first one came, on the clock of perf_counter."""
        self.input_tokens = 0
        """Of the prompts, each counted once."""
        self.cached_tokens = 0
        """Of them, those that were found in the prefix cache."""
        self.output_tokens = 0
        self.reasoning_tokens = 0
        """Of the output."""
        self.finish_reasons: dict[int, str] = {}
        """By choice."""
        self.error: Exception | None = None
        """What ended a prompt's answers before their time."""

    def note(self, first: int, outcome: Chunk | Exception) -> None:
        """Note what came for a prompt, whose first choice has this number."""
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
