"""Converts bodies of Ollama's API to bodies of this server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from qwen3cpu.server.api.bodies import ChatBody, ForeignBody, Items
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.foreign_fields import Translated
from qwen3cpu.server.api.json_words import kind_of
from qwen3cpu.server.api.ollama.durations import keep_alive_seconds
from qwen3cpu.server.api.search_bodies import EmbeddingsBody

CHAT_ONLY = frozenset(("messages", "tools", "tool_choice", "parallel_tool_calls", "continue_final_message"))
"""Fields that /api/generate does not have."""


class OllamaBody(ChatBody):
    """The fields that /api/chat and /api/generate share. `options` holds more of them."""

    left_out: ClassVar[frozenset[str]] = frozenset(
        ("n", "stream_options", "modalities", "calls_as_function", "max_completion_tokens")
    )

    num_ctx: int | None = None
    keep_alive: float | str | None = None

    @classmethod
    def translated(cls, given: Mapping[str, Any]) -> Translated:
        """See ForeignBody."""
        given = dict(given)
        options = given.get("options")
        if isinstance(options, dict) and type(options.get("num_predict")) is int and options["num_predict"] == 0:
            # For Ollama, both 0 and -1 mean no limit.
            given["options"] = {name: value for name, value in options.items() if name != "num_predict"}
        return super().translated(given)

    @property
    def streams(self) -> bool:
        """Whether the answer is streamed, which is the default."""
        return self.stream is not False

    def without_effect(self, context: int) -> Iterator[str]:
        """`num_ctx`, if it is larger than the model's context."""
        if self.num_ctx is not None and self.num_ctx > context:
            yield self.places.get("num_ctx", "num_ctx")

    @property
    def keep_seconds(self) -> float | None:
        """See ForeignBody."""
        return None if self.keep_alive is None else keep_alive_seconds(self.keep_alive)


class OllamaChat(OllamaBody):
    """POST /api/chat."""

    @classmethod
    def translated(cls, given: Mapping[str, Any]) -> Translated:
        """See ForeignBody."""
        given = {**given}
        messages = given.get("messages")
        if isinstance(messages, list):
            given["messages"] = [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]
            _go_on(given)
        elif messages is None:
            given["messages"] = []
        if isinstance(given.get("tools"), list):
            given["tools"] = [
                {"type": "function", **tool} if isinstance(tool, dict) else tool for tool in given["tools"]
            ]
        return super().translated(given)


class OllamaGenerate(OllamaBody):
    """POST /api/generate. Its `messages` are made of `system` and `prompt`."""

    left_out = OllamaBody.left_out | CHAT_ONLY

    prompt: str = ""
    system: str | None = None
    raw: bool = False
    context: Items[int] | None = None
    """The `context` of an earlier answer: the ids of its prompt and of the answer."""

    @classmethod
    def translated(cls, given: Mapping[str, Any]) -> Translated:
        """See ForeignBody."""
        _refuse_images(given.get("images"), "images")
        given = {name: value for name, value in given.items() if name != "images" or value}
        if given.get("template") not in (None, ""):
            expected = "expected the template of the checkpoint, or raw"
            raise ApiError(400, f"template: not supported; {expected}", code="unsupported_parameter", param="template")
        given.pop("template", None)
        if given.get("raw") is True and (given.get("system") or given.get("context")):
            name = "system" if given.get("system") else "context"
            raise ApiError(400, f"{name}: expected none beside raw", code="invalid_value", param=name)
        body, ignored, places = super().translated(given)
        texts = [(name, role) for name, role in (("system", "system"), ("prompt", "user")) if body.get(name)]
        body["messages"] = [{"role": role, "content": body[name]} for name, role in texts]
        for index, (name, _) in enumerate(texts):
            places[f"messages[{index}]"] = places[f"messages[{index}].content"] = name
        return Translated(body, ignored, places)


class OllamaEmbed(EmbeddingsBody):
    """POST /api/embed."""

    input: Any = None
    truncate: bool = True
    keep_alive: float | str | None = None

    @classmethod
    def translated(cls, given: Mapping[str, Any]) -> Translated:
        """See ForeignBody."""
        given = {**given}
        options = given.pop("options", None) or {}
        if not isinstance(options, dict):
            raise ApiError(400, f"options: expected an object, found {kind_of(options)}", param="options")
        body, ignored, places = super().translated(given)
        named = [f"options.{name}" for name, value in options.items() if value is not None]
        return Translated(body, [*ignored, *named], places)

    @property
    def keep_seconds(self) -> float | None:
        """See ForeignBody."""
        return None if self.keep_alive is None else keep_alive_seconds(self.keep_alive)

    def texts(self, most: int) -> Any:
        """See EmbeddingsBody. An empty input, with which clients load a model, has no texts."""
        return [] if self.input in (None, "", []) else super().texts(most)


class OllamaEmbeddings(OllamaEmbed):
    """POST /api/embeddings, Ollama's older endpoint for the vector of one text, which is not normalised."""

    prompt: str = ""
    normalize: bool = False

    @classmethod
    def translated(cls, given: Mapping[str, Any]) -> Translated:
        """See ForeignBody."""
        body, ignored, places = super().translated({name: given[name] for name in given if name != "input"})
        if "prompt" in body:
            body["input"] = body["prompt"]
        return Translated(body, [*ignored, *(["input"] if "input" in given else [])], {**places, "input": "prompt"})


class NamedModel(ForeignBody):
    """A body that names a model; older clients send it as `name`."""

    @classmethod
    def named(cls, given: Mapping[str, Any]) -> str | None:
        """See ForeignBody."""
        return super().named({"model": given.get("name"), **given})

    @classmethod
    def translated(cls, given: Mapping[str, Any]) -> Translated:
        """See ForeignBody."""
        body = {name: value for name, value in given.items() if value is not None}
        places = {}
        if "name" in body and "model" not in body:
            body["model"] = body.pop("name")
            places["model"] = "name"
        ignored = [name for name in body if name not in cls.model_fields]
        return Translated({name: body[name] for name in body if name not in ignored}, ignored, places)


class OllamaShow(NamedModel):
    """POST /api/show."""

    verbose: bool = False

    def without_effect(self, context: int) -> Iterator[str]:
        """`verbose`, which asks for lists of tokens. `/tokenize` and `/detokenize` convert tokens instead."""
        if self.verbose:
            yield "verbose"


def _message(message: Any, where: str) -> Any:
    """A message in the form of a chat. Missing content becomes an empty text."""
    if not isinstance(message, dict):
        return message
    _refuse_images(message.get("images"), f"{where}.images")
    plain = {name: value for name, value in message.items() if name != "images"}
    if plain.get("content") is None and not plain.get("tool_calls"):
        plain["content"] = ""
    return plain


def _go_on(given: dict[str, Any]) -> None:
    """Let the answer continue a last message of the assistant, as in Ollama."""
    last = given["messages"][-1] if given["messages"] else None
    if (
        isinstance(last, dict)
        and last.get("role") == "assistant"
        and isinstance(last.get("content"), str)
        and not last.get("tool_calls")
        and given.get("continue_final_message") is None
    ):
        given |= {"continue_final_message": True, "think": False}


def _refuse_images(images: Any, where: str) -> None:
    if images not in (None, []):
        expected = "expected text, because the model reads no images"
        raise ApiError(400, f"{where}: not supported; {expected}", code="unsupported_parameter", param=where)


class OllamaPull(NamedModel):
    """POST /api/pull."""

    stream: bool | None = None


class OllamaDelete(NamedModel):
    """DELETE /api/delete."""
