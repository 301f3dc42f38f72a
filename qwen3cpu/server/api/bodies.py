"""What clients may send: the bodies of requests, checked for types and unknown fields, and the options they stand for.

Values (ranges, contradictions) are checked where they are used: generation/options.py, text/messages.py.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from qwen3cpu.server.api.errors import ApiError

EFFORTS: dict[str, int | None] = {"minimal": 256, "low": 1024, "medium": 4096, "high": None, "xhigh": None}
"""Tokens of reasoning for each reasoning_effort; None: as many as the model likes. "none" switches thinking off."""
MOST_ALTERNATIVES = 20
"""Alternatives at a position, as OpenAI allows."""
MOST_STOPS = 64
"""Stop strings. OpenAI allows 4; evaluation harnesses send more."""


class Body(BaseModel):
    """A JSON object without unknown fields; numbers are numbers, not their spellings."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Generation(Body):
    """What all requests for an answer have in common. Fields from `top_k` on are not OpenAI's."""

    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    stream: bool | None = None
    # Without effect here: they are about accounts, storage and billing.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None

    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    thinking_budget: int | None = None
    deadline: float | None = None
    loop_detection: bool | None = None
    seed: int | None = None

    def sampling(self) -> dict[str, Any]:
        """Options of Model.generate."""
        names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")
        thinking = ("thinking_budget", "deadline", "loop_detection")
        return {name: getattr(self, name) for name in names + thinking}


class StreamOptions(Body):
    """`stream_options`."""

    include_usage: bool = False
    include_obfuscation: bool = False


class OpenAiSampling(Generation):
    """What chat completions and completions share."""

    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool | None = None
    stream_options: StreamOptions | None = None

    def sampling(self) -> dict[str, Any]:
        """Options of Model.generate."""
        if isinstance(self.stop, list) and len(self.stop) > MOST_STOPS:
            raise ApiError(400, f"stop: expected at most {MOST_STOPS} strings, found {len(self.stop)}", param="stop")
        names = ("presence_penalty", "frequency_penalty", "stop", "stop_token_ids", "ignore_eos", "n")
        return {
            **super().sampling(),
            **{name: getattr(self, name) for name in names},
            "logit_bias": None if self.logit_bias is None else _bias(self.logit_bias),
        }

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return self.stream_options is not None and self.stream_options.include_usage


class JsonSchema(Body):
    """`response_format.json_schema`."""

    name: str = "answer"
    description: str | None = None
    schema_: dict[str, Any] | None = None
    strict: bool | None = None

    model_config = ConfigDict(strict=True, extra="forbid", alias_generator=lambda name: name.rstrip("_"))


class ResponseFormat(Body):
    """`response_format`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatBody(OpenAiSampling):
    """POST /v1/chat/completions."""

    messages: list[dict[str, Any]]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    modalities: list[Literal["text"]] | None = None
    verbosity: str | None = None

    def options(self) -> dict[str, Any]:
        """Options of Model.generate, without tools and schemas."""
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ApiError(400, "max_tokens: expected it or max_completion_tokens, found both", param="max_tokens")
        return {
            **self.sampling(),
            "max_new_tokens": self.max_completion_tokens if self.max_tokens is None else self.max_tokens,
            "logprobs": chosen_logprobs(self.logprobs, self.top_logprobs),
            **thinking_options(self.reasoning_effort, self.chat_template_kwargs, self.thinking_budget),
        }


class CompletionBody(OpenAiSampling):
    """POST /v1/completions."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int | None = None
    echo: bool = False
    logprobs: int | None = None
    best_of: int | None = None

    def options(self) -> dict[str, Any]:
        """Options of Model.generate."""
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise ApiError(400, f"best_of: expected n = {self.n or 1}, found {self.best_of}", param="best_of")
        if self.logprobs is not None and not 0 <= self.logprobs <= MOST_ALTERNATIVES:
            raise ApiError(400, f"logprobs: expected 0 to {MOST_ALTERNATIVES}, found {self.logprobs}", param="logprobs")
        most = 16 if self.max_tokens is None else self.max_tokens  # 16 as OpenAI has it
        return {**self.sampling(), "raw": True, "max_new_tokens": most or 1, "logprobs": self.logprobs}


def chosen_logprobs(wanted: bool | None, alternatives: int | None) -> int | None:
    """The `logprobs` option for what a chat client asks."""
    if alternatives is not None:
        if not wanted:
            raise ApiError(400, "top_logprobs: expected logprobs to be true beside it", param="top_logprobs")
        if not 0 <= alternatives <= MOST_ALTERNATIVES:
            found = f"expected 0 to {MOST_ALTERNATIVES}, found {alternatives}"
            raise ApiError(400, f"top_logprobs: {found}", param="top_logprobs")
    return (alternatives or 0) if wanted else None


def thinking_options(effort: str | None, template: dict[str, Any] | None, budget: int | None) -> dict[str, Any]:
    """`thinking` and `thinking_budget` for what a client says of them; the more particular field counts."""
    options: dict[str, Any] = {}
    if effort is not None:
        if effort != "none" and effort not in EFFORTS:
            known = ", ".join(["none", *EFFORTS])
            raise ApiError(
                400, f"reasoning_effort: expected one of {known}, found {effort!r}", param="reasoning_effort"
            )
        options["thinking"] = effort != "none"
        options["thinking_budget"] = EFFORTS.get(effort)
    for name, value in (template or {}).items():
        if name != "enable_thinking":
            raise ApiError(400, f"chat_template_kwargs: unknown field {name!r}", param=f"chat_template_kwargs.{name}")
        if not isinstance(value, bool):
            found = f"expected true or false, found {value!r}"
            raise ApiError(400, f"enable_thinking: {found}", param="chat_template_kwargs.enable_thinking")
        options["thinking"] = value
    if budget is not None:
        options["thinking_budget"] = budget
    return options


def _bias(given: dict[str, float]) -> dict[int, float]:
    """Ids are the keys of a JSON object, hence strings."""
    bias = {}
    for token, value in given.items():
        if not token.isascii() or not token.isdigit() or len(token) > 9:
            raise ApiError(400, f"logit_bias: expected token ids as keys, found {token[:40]!r}", param="logit_bias")
        bias[int(token)] = value
    return bias
