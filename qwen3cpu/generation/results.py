"""What an answer is made of: Result, Chunk, Usage, Timings and log-probabilities. Plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from qwen3cpu.generation.thinking import ClosedBy
from qwen3cpu.text.tool_calls import MalformedCall, ToolCall

FinishReason = Literal["stop", "length"]
StoppedBy = Literal[
    "eos", "stop_token", "stop_string", "max_new_tokens", "context", "deadline", "loop", "schema", "error"
]


@dataclass(frozen=True)
class TopLogprob:
    """One alternative at a position."""

    token_id: int
    text: str
    """The token's bytes as text; U+FFFD where they are only a part of a character."""
    logprob: float


@dataclass(frozen=True)
class TokenLogprob:
    """The natural log-probability of one token under the model itself: before temperature, filters and penalties."""

    token_id: int
    text: str
    logprob: float | None
    """None for a token that was fed in to close the thinking: the model did not choose it."""
    top: tuple[TopLogprob, ...] = ()
    """The most likely tokens at this position, best first; the chosen one need not be among them."""


@dataclass(frozen=True)
class Usage:
    """Token counts of one answer."""

    prompt_tokens: int
    completion_tokens: int
    """Everything after the prompt: reasoning, answer, the token that ended it, and text fed in by a spent budget."""
    reasoning_tokens: int
    """The part of completion_tokens inside think blocks, the two markers included."""
    cached_tokens: int
    """The part of prompt_tokens that came from a kept sequence or the prefix cache, without being processed again."""

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Timings:
    """Wall-clock seconds of one answer. Answers that ran beside others share the time with them."""

    prompt_seconds: float
    """Processing of the prompt, until its logits were there. 0 for the second and later answers to one prompt."""
    first_token_seconds: float
    """From the call to the first token."""
    decode_seconds: float
    """From the first token to the last."""
    total_seconds: float
    """From the call to the last token."""
    prompt_tokens_per_second: float
    """Processed prompt tokens (cached ones not counted) per second; 0 when nothing was processed."""
    tokens_per_second: float
    """Tokens after the first per second of decoding; 0 for answers of a single token."""
    drafted: int = 0
    """Tokens that were guessed and then checked, several in one pass (speculative decoding)."""
    accepted: int = 0
    """Those of them that the answer took: so many passes it did without."""


@dataclass(frozen=True)
class Result:
    """One finished answer."""

    text: str
    """The answer: without reasoning, tool calls, control tokens and the stop string."""
    reasoning: str
    """What stood in the think block, without its markers; empty without one."""
    tool_calls: tuple[ToolCall, ...]
    """The calls that the model wants to be made."""
    token_ids: tuple[int, ...] = field(repr=False)
    """Every token after the prompt, with the one that ended the answer."""
    finish_reason: FinishReason
    """"stop": the model or a stop condition ended it; "length": a limit cut it off."""
    stopped_by: StoppedBy
    """What exactly: "eos", "stop_token", "stop_string", or the limit "max_new_tokens", "context" or "deadline"; or
    "loop": the answer repeated the same tokens over and over; or "schema": no token could follow within the limits of a
    step; `schema_errors` says more; or "error": one of `processors` failed with `error`."""
    stop: str | int | None
    """The stop string, or the id that ended the answer; None when a limit did."""
    usage: Usage
    timings: Timings
    seed: int
    """Generating again with this seed and the same options (and n, for answers with an index above 0) repeats it."""
    logprobs: tuple[TokenLogprob, ...] | None = field(default=None, repr=False)
    """One entry per entry of token_ids when they were asked for, also for tokens that a stop string cut off."""
    index: int = 0
    """Which of the `n` answers to the prompt, or which prompt of a batch."""
    thinking_closed_by: ClosedBy | None = None
    """Why the think block was closed, if not by the model: its "budget" was spent, the "deadline" came near, or it went
    round in a "loop"."""
    malformed_calls: tuple[MalformedCall, ...] = ()
    """Blocks that are no calls of the tools; they stand in `text`, and why is said here."""

    unenforced: tuple[str, ...] = ()
    """JSON pointers of keywords of `schema` that tokens are not held to; those of a tool with its name in front."""
    schema_errors: tuple[str, ...] | None = None
    """What is wrong with the answer by `schema`; () if it follows all of it; None if it had to follow none."""
    error: Exception | None = None
    """What one of `processors` raised, which ended this answer. A call for a single answer raises it."""

    @property
    def thinking_budget_spent(self) -> bool:
        """Whether the think block was closed by `thinking_budget`."""
        return self.thinking_closed_by == "budget"

    def to_message(self) -> dict[str, Any]:
        """The assistant's message that goes into the history."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = [call.to_message() for call in self.tool_calls]
        return message

    def _repr_html_(self) -> str:
        from qwen3cpu.generation.notebook_views import answer_view

        figures = f"{self.usage.completion_tokens} tokens, {self.timings.tokens_per_second:.1f} per second"
        if self.finish_reason == "length":
            figures += f"; cut off: {self.stopped_by}"
        return answer_view(self.to_message(), f"Thinking, {self.usage.reasoning_tokens} tokens", figures)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers, ready for JSON; `error`, if there is one, as text."""
        # asdict for what needs it only: it copies every token id by itself.
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "error"}
        for name in ("tool_calls", "malformed_calls", "logprobs"):
            if plain[name] is not None:
                plain[name] = tuple(map(asdict, plain[name]))
        # These two hold nothing but numbers, which need no copies.
        plain["usage"] = {**vars(self.usage), "total_tokens": self.usage.total_tokens}
        plain["timings"] = dict(vars(self.timings))
        if self.error is not None:
            plain["error"] = f"{type(self.error).__name__}: {self.error}"
        return plain


@dataclass(frozen=True)
class Chunk:
    """What one step added to an answer: one sampled token, or several when a draft was right.

    There is a chunk also when nothing of the tokens can be shown yet.

    Joined over all chunks of an answer, text, reasoning, token_ids and logprobs are those of its Result.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    """The calls of a block that is complete now; usually one."""
    malformed_calls: tuple[MalformedCall, ...] = ()
    """Blocks that are no calls and complete now; they are part of `text` too."""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] | None = None
    index: int = 0
    """Which of the `n` answers."""
    finish_reason: FinishReason | None = None
    result: Result | None = field(default=None, repr=False)
    """The whole answer, in its last chunk only."""

    @property
    def tool_call(self) -> ToolCall | None:
        """The first of `tool_calls`; None without any."""
        return self.tool_calls[0] if self.tool_calls else None

    @property
    def malformed_call(self) -> MalformedCall | None:
        """The first of `malformed_calls`; None without any."""
        return self.malformed_calls[0] if self.malformed_calls else None
