"""The bodies of requests, checked for types and unknown fields, and the options that they stand for.

Values (ranges, contradictions) are checked where they are used: generation/options.py, text/messages.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, PrivateAttr, ValidationError
from typing_extensions import Self

from qwen3cpu.generation.constraints import KINDS
from qwen3cpu.server.api.errors import ApiError, as_api_error
from qwen3cpu.server.api.foreign_fields import Endpoint, Translated, translate
from qwen3cpu.server.api.hints import near_fields
from qwen3cpu.server.api.json_words import kind_of
from qwen3cpu.server.api.stops import checked_stop

EFFORTS: dict[str, int | None] = {"minimal": 256, "low": 1024, "medium": 4096, "high": None, "xhigh": None, "max": None}
"""reasoning_effort -> the largest number of tokens of reasoning; None: no limit. "none" switches thinking off."""
MOST_ALTERNATIVES = 20
"""The largest number of alternatives at a position, as in OpenAI's API."""
MOST_NAMED = 32
"""The largest number of ignored fields that a response names."""
LLAMA_SAMPLERS = (
    "top_n_sigma",
    "typical_p",
    "xtc_probability",
    "xtc_threshold",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
)
"""Options of Model.generate that have llama.cpp's names."""

T = TypeVar("T")


class _FirstError(FailFast):
    """FailFast, but hashable, because a union needs that."""

    __hash__ = object.__hash__


Items = Annotated[list[T], _FirstError()]
"""A list whose check ends at the first wrong item, because a million errors would take all memory."""


class Body(BaseModel):
    """A JSON object without unknown fields. A number must be a JSON number, not a text."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Part(BaseModel):
    """An object inside a body for answers. Its unknown fields are ignored and named."""

    model_config = ConfigDict(strict=True, extra="allow", alias_generator=lambda name: name.rstrip("_"))

    def unknown(self, where: str) -> Iterator[str]:
        """Places of unknown fields."""
        for name, value in (self.model_extra or {}).items():
            if value is not None:
                yield f"{where}.{name}"
        for name in type(self).model_fields:
            if isinstance(value := getattr(self, name), Part):
                yield from value.unknown(f"{where}.{name.rstrip('_')}")


class ForeignBody(Body):
    """A body whose fields may have the names of other servers. Fields without a meaning here are ignored and named."""

    model: str | None = None

    _ignored: list[str] = PrivateAttr(default_factory=list)
    _hints: dict[str, str] = PrivateAttr(default_factory=dict)
    _places: dict[str, str] = PrivateAttr(default_factory=dict)
    _adapter: str | None = PrivateAttr(default=None)

    @classmethod
    def translated(cls, given: Mapping[str, Any]) -> Translated:
        """The JSON object of a request under the names of this server. ApiError: a field that cannot be ignored."""
        raise NotImplementedError

    @classmethod
    def named(cls, given: Mapping[str, Any]) -> str | None:
        """The model that the JSON object of a request names; None if it names none, or the name is not a text."""
        name = given.get("model")
        return name if isinstance(name, str) else None

    @property
    def keep_seconds(self) -> float | None:
        """Seconds that the model stays in memory after its last use; below 0: for ever. None: the body does not say."""
        return None

    @classmethod
    def read(cls, given: Mapping[str, Any], context: int) -> Self:
        """Read the body from a JSON object.

        Args:
            given: the JSON object of a request.
            context: the positions of the model's context.

        Raises:
            ApiError: a value that is not allowed.
        """
        body, ignored, places = cls.translated(given)
        try:
            read = cls.model_validate(body)
        except ValidationError as error:
            raise as_api_error(error).moved(places) from None
        read._places = places
        for name in cls.model_fields:
            if isinstance(value := getattr(read, name), Part):
                ignored += value.unknown(name)
        read._ignored = [*ignored, *read.without_effect(context)]
        read._hints = near_fields(read, read._ignored[:MOST_NAMED])
        return read

    @property
    def ignored(self) -> list[str]:
        """Fields of the request that have no meaning on this server."""
        return self._ignored

    @property
    def places(self) -> dict[str, str]:
        """Places in this body, as errors name them -> the places in the client's request, where they differ."""
        return self._places

    @property
    def adapter(self) -> str | None:
        """The adapter that `model` names; None without one. It is set when the model has been found."""
        return self._adapter

    @adapter.setter
    def adapter(self, name: str | None) -> None:
        self._adapter = name

    @property
    def hints(self) -> dict[str, str]:
        """Ignored field -> the field of this server whose misspelling it may be."""
        return self._hints

    def without_effect(self, context: int) -> Iterator[str]:
        """Known fields whose values have no effect. context: the positions of the model's context."""
        yield from ()


class Generation(ForeignBody):
    """The fields that all requests for an answer share. Fields from `top_k` on are not OpenAI's."""

    endpoint: ClassVar[Endpoint]
    left_out: ClassVar[frozenset[str]] = frozenset()
    """Fields of a base class that this body does not have."""

    temperature: float | None = None
    top_p: float | None = None
    stream: bool | None = None

    top_k: int | None = None
    min_p: float | None = None
    top_n_sigma: float | None = None
    typical_p: float | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_penalty_last_n: int | None = None
    dry_sequence_breakers: Items[str] | None = None
    repetition_penalty: float | None = None
    thinking_budget: int | None = None
    deadline: float | None = None
    loop_detection: bool | None = None
    speculate: bool | None = None
    seed: int | None = None
    regex: str | None = None
    choices: Items[str] | None = None
    grammar: str | None = None

    @classmethod
    def translated(cls, given: Mapping[str, Any]) -> Translated:
        """See ForeignBody."""
        return translate(given, cls.endpoint, frozenset(cls.model_fields) - cls.left_out)

    def sampling(self) -> dict[str, Any]:
        """Options of Model.generate."""
        names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")
        others = ("thinking_budget", "deadline", "loop_detection", "speculate")
        return {name: getattr(self, name) for name in (*names, *LLAMA_SAMPLERS, *others)}

    def forms(self) -> dict[str, Any]:
        """The given constraints of the answer besides JSON, as options of Model.generate."""
        return {name: value for name in KINDS if (value := getattr(self, name)) is not None}


class StreamOptions(Part):
    """`stream_options`."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None

    def unknown(self, where: str) -> Iterator[str]:
        """See Part. Answers are never padded, so `include_obfuscation` has no effect."""
        yield from super().unknown(where)
        if self.include_obfuscation:
            yield f"{where}.include_obfuscation"


class OpenAiSampling(Generation):
    """The fields that chat completions and completions share."""

    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, Any] | None = None
    n: int | None = None
    stop: str | Items[str] | None = None
    stop_token_ids: Items[int] | None = None
    ignore_eos: bool | None = None
    stream_options: StreamOptions | None = None

    def sampling(self) -> dict[str, Any]:
        """Options of Model.generate."""
        names = ("presence_penalty", "frequency_penalty", "stop_token_ids", "ignore_eos", "n")
        return {
            **super().sampling(),
            **{name: getattr(self, name) for name in names},
            "stop": checked_stop(self.stop),
            "logit_bias": None if self.logit_bias is None else _bias(self.logit_bias),
        }

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class JsonSchema(Part):
    """`response_format.json_schema`."""

    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseFormat(Part):
    """`response_format`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatBody(OpenAiSampling):
    """POST /v1/chat/completions."""

    endpoint = "chat"

    messages: Items[dict[str, Any]]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: Items[dict[str, Any]] | None = None
    continue_final_message: bool | None = None
    calls_as_function: bool = False
    """Whether the tools came as `functions`."""
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    modalities: Items[Literal["text"]] | None = None

    def names(self) -> dict[str, str]:
        """Option of Model.generate -> the field that it comes from."""
        limit = "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"
        return {"max_new_tokens": limit, "logprobs": "top_logprobs", "schema": "response_format.json_schema.schema"}

    def options(self) -> dict[str, Any]:
        """Options of Model.generate, without tools, schemas and forms."""
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ApiError(400, "max_tokens: expected it or max_completion_tokens, found both", param="max_tokens")
        return {
            **self.sampling(),
            "max_new_tokens": self.max_completion_tokens if self.max_tokens is None else self.max_tokens,
            "logprobs": chosen_logprobs(self.logprobs, self.top_logprobs),
            **thinking_options(self.reasoning_effort, self.chat_template_kwargs, self.thinking_budget),
        }


class CompletionBody(OpenAiSampling):
    """POST /v1/completions."""

    endpoint = "completions"

    prompt: str | Items[str] | Items[int] | Items[Items[int]]
    max_tokens: int | None = None
    echo: bool = False
    token_healing: bool | None = None
    logprobs: int | None = None
    best_of: int | None = None
    response_format: ResponseFormat | None = None

    def names(self) -> dict[str, str]:
        """Option of Model.generate -> the field that it comes from."""
        return {"max_new_tokens": "max_tokens", "schema": "response_format.json_schema.schema"}

    def options(self) -> dict[str, Any]:
        """Options of Model.generate."""
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise ApiError(400, f"best_of: expected n = {self.n or 1}, found {self.best_of}", param="best_of")
        if self.logprobs is not None and not 0 <= self.logprobs <= MOST_ALTERNATIVES:
            raise ApiError(400, f"logprobs: expected 0 to {MOST_ALTERNATIVES}, found {self.logprobs}", param="logprobs")
        most = 16 if self.max_tokens is None else self.max_tokens  # 16 is OpenAI's default
        # For other servers, -1 and -2 mean: until the context is full.
        limit = None if most in (-1, -2) else most or 1
        healing = self.token_healing and self.max_tokens != 0  # max_tokens 0 generates nothing
        return {
            **self.sampling(),
            "raw": True,
            "token_healing": healing,
            "max_new_tokens": limit,
            "logprobs": self.logprobs,
        }


def chosen_logprobs(wanted: bool | None, alternatives: int | None) -> int | None:
    """The `logprobs` option for `logprobs` and `top_logprobs` of a chat client."""
    if alternatives is not None:
        if not wanted:
            raise ApiError(400, "top_logprobs: expected logprobs to be true beside it", param="top_logprobs")
        if not 0 <= alternatives <= MOST_ALTERNATIVES:
            found = f"expected 0 to {MOST_ALTERNATIVES}, found {alternatives}"
            raise ApiError(400, f"top_logprobs: {found}", param="top_logprobs")
    return (alternatives or 0) if wanted else None


def thinking_options(
    effort: str | None, template: dict[str, Any] | None, budget: int | None, name: str = "reasoning_effort"
) -> dict[str, Any]:
    """The options `thinking` and `thinking_budget`. If fields contradict each other, the more specific one counts.

    Args:
        effort: the word for the effort of reasoning.
        template: `chat_template_kwargs`.
        budget: the largest number of tokens of reasoning.
        name: the field that `effort` comes from.
    """
    options: dict[str, Any] = {}
    if effort is not None:
        if effort in ("auto", "default"):
            return thinking_options(None, template, budget, name)
        if effort != "none" and effort not in EFFORTS:
            known = ", ".join(["none", *EFFORTS])
            raise ApiError(
                400, f"{name}: expected one of {known}, found {effort[:80]!r}", code="invalid_value", param=name
            )
        options["thinking"] = effort != "none"
        options["thinking_budget"] = EFFORTS.get(effort)
    for key, value in (template or {}).items():
        if key != "enable_thinking":
            raise ApiError(400, f"chat_template_kwargs: unknown field {key[:80]!r}", param="chat_template_kwargs")
        if not isinstance(value, bool):
            found = f"expected true or false, found {value!r}"
            raise ApiError(400, f"enable_thinking: {found}", param="chat_template_kwargs.enable_thinking")
        options["thinking"] = value
    if budget is not None:
        options["thinking_budget"] = budget
    return options


def _bias(given: dict[str, Any]) -> dict[int, float]:
    """Convert the keys of `logit_bias` to token ids. They are strings, because JSON has no other keys."""
    bias = {}
    for token, value in given.items():
        if not token.isascii() or not token.isdigit() or len(token) > 9:
            raise ApiError(400, f"logit_bias: expected token ids as keys, found {token[:40]!r}", param="logit_bias")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            expected = f"expected a number, found {kind_of(value)}"
            raise ApiError(400, f"logit_bias.{token}: {expected}", param=f"logit_bias.{token}")
        bias[int(token)] = float(value)
    return bias
