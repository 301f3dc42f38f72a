"""The data of an answer: Result, Chunk, Usage, Timings and log-probabilities."""

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
    """The token's bytes as text; U+FFFD for an incomplete character."""
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
    """Wall-clock seconds of one answer. Answers that run at the same time share the machine."""

    prompt_seconds: float
    """Processing of the prompt, until its logits were known. 0 for the second and later answers to one prompt."""
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
    """Those of them that the answer took; each saved one pass."""


@dataclass(frozen=True)
class Result:
    """One finished answer."""

    text: str
    """The answer: without reasoning, tool calls, control tokens and the stop string."""
    reasoning: str
    """The text of the think block, without its markers; empty without one."""
    tool_calls: tuple[ToolCall, ...]
    """The calls that the model asks for."""
    token_ids: tuple[int, ...] = field(repr=False)
    """Every token after the prompt, with the one that ended the answer."""
    finish_reason: FinishReason
    """"stop": the model or a stop condition ended it; "length": a limit cut it off."""
    stopped_by: StoppedBy
    """The exact reason: "eos", "stop_token", "stop_string", or the limit "max_new_tokens", "context" or "deadline".
    "loop": the answer repeated the same tokens over and over. "schema": no token could follow within the limits of a
    step, and `schema_errors` says more. "error": one of `processors` failed with `error`."""
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
    """Why the think block was closed, if not by the model: its "budget" was spent, the "deadline" came near, or it
    repeated itself in a "loop"."""
    malformed_calls: tuple[MalformedCall, ...] = ()
    """Blocks that are not valid calls of the tools, with the reason; they are part of `text`."""

    unenforced: tuple[str, ...] = ()
    """JSON pointers of keywords of `schema` that tokens are not held to; those of a tool begin with its name."""
    schema_errors: tuple[str, ...] | None = None
    """How the answer breaks `schema`; () if it follows all of it; None if it has no schema to follow."""
    error: Exception | None = None
    """What one of `processors` raised, which ended this answer. A call for a single answer raises it."""

    @property
    def thinking_budget_spent(self) -> bool:
        """Whether the think block was closed by `thinking_budget`."""
        return self.thinking_closed_by == "budget"

    def to_message(self) -> dict[str, Any]:
        """The assistant's message for the history."""
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
        # asdict only where it is needed: it copies every token id.
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

    A chunk comes even when no text of the tokens can be shown yet.

    Joined over all chunks of an answer, text, reasoning, token_ids and logprobs are those of its Result.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    """The calls of a block that this step completed; usually one."""
    malformed_calls: tuple[MalformedCall, ...] = ()
    """Blocks that this step completed and that are not valid calls; they are part of `text` too."""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] | None = None
    index: int = 0
    """Which of the `n` answers."""
    finish_reason: FinishReason | None = None
    result: Result | None = field(default=None, repr=False)
    """The whole answer, in its last chunk only."""

    @property
    def tool_call(self) -> ToolCall | None:
        """The first of `tool_calls`; None if it is empty."""
        return self.tool_calls[0] if self.tool_calls else None

    @property
    def malformed_call(self) -> MalformedCall | None:
        """The first of `malformed_calls`; None if it is empty."""
        return self.malformed_calls[0] if self.malformed_calls else None
