"""Answers in the form of Ollama's API: one JSON object, or one on each line of a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from time import perf_counter
from typing import Any

from qwen3cpu.generation.results import Chunk, Result
from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.common import details
from qwen3cpu.server.api.errors import OLLAMA_PATHS, as_api_error
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.api.logprobs import ContentLogprobs
from qwen3cpu.server.api.ollama.bodies import OllamaBody
from qwen3cpu.server.api.ollama.durations import nanoseconds, now
from qwen3cpu.server.scheduling.service import Answers, Service
from qwen3cpu.text.output_splitter import starts_thinking
from qwen3cpu.text.tool_calls import ToolCall

Piece = Callable[[str, str, list[dict[str, Any]]], dict[str, Any]]
"""Makes an endpoint's fields for text, reasoning and calls."""


def chat_piece(text: str, reasoning: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    """A piece of an answer of /api/chat."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if reasoning:
        message["thinking"] = reasoning
    if calls:
        message["tool_calls"] = calls
    return {"message": message}


def generate_piece(text: str, reasoning: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    """A piece of an answer of /api/generate."""
    return {
        "response": text,
        **({"thinking": reasoning} if reasoning else {}),
        **({"tool_calls": calls} if calls else {}),
    }


class OllamaReply:
    """Writes the answer to one request.

    Args:
        service: has the model.
        arrival: the request's arrival.
        body: the body of the request.
        prompt: ids of the prompt.
        answers: the answers to it.
        piece: makes the endpoint's fields for text, reasoning and calls.
        with_context: whether the last line has the ids of prompt and answer.
    """

    def __init__(
        self,
        service: Service,
        arrival: Arrival,
        body: OllamaBody,
        prompt: list[int],
        answers: Answers,
        piece: Piece,
        *,
        with_context: bool = False,
    ) -> None:
        self._service = service
        self._arrived = arrival.at
        self._body = body
        self._prompt = prompt
        self._answers = answers
        self._piece = piece
        self._with_context = with_context
        tokenizer = service.model.tokenizer
        self._content = ContentLogprobs(tokenizer, in_thinking=starts_thinking(prompt, tokenizer))
        self._calls = 0

    @property
    def id(self) -> None:
        """None, because Ollama's API has no ids."""

    async def whole(self) -> dict[str, Any]:
        """The whole reply."""
        (result,) = await self._answers.results()
        return await self._service.workshop.run("reply", lambda: self._line(result, self._end(result)))

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The reply as JSON lines."""
        try:
            async for _, chunk in self._answers.chunks():
                line = self._line(chunk, {"done": False})
                if chunk.text or chunk.reasoning or chunk.tool_calls or "logprobs" in line:
                    yield _written(line)
                if chunk.result is not None:
                    yield _written({**self._head(), **self._piece("", "", []), **self._end(chunk.result)})
        except Exception as error:
            yield _written(as_api_error(error).body(OLLAMA_PATHS))

    def _head(self) -> dict[str, Any]:
        return {"model": self._body.model or self._service.settings.model_name, "created_at": now()}

    def _line(self, part: Chunk | Result, end: dict[str, Any]) -> dict[str, Any]:
        """The line of a chunk, or the object of a whole answer."""
        line = {**self._head(), **self._piece(part.text, part.reasoning, self._numbered(part.tool_calls)), **end}
        if self._body.logprobs and (entries := self._content.content(part)):
            line["logprobs"] = [_entry(each) for each in entries]
        return line

    def _numbered(self, calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
        first, self._calls = self._calls, self._calls + len(calls)
        return [
            {"id": call.id, "function": {"index": index, "name": call.name, "arguments": call.arguments}}
            for index, call in enumerate(calls, first)
        ]

    def _end(self, result: Result) -> dict[str, Any]:
        """The fields of the last line."""
        total = perf_counter() - self._arrived
        timings = result.timings
        return {
            "done": True,
            "done_reason": result.finish_reason,
            **({"context": [*self._prompt, *result.token_ids]} if self._with_context else {}),
            "total_duration": nanoseconds(total),
            "load_duration": nanoseconds(total - timings.total_seconds),
            "prompt_eval_count": result.usage.prompt_tokens,
            "prompt_eval_duration": nanoseconds(timings.prompt_seconds),
            "eval_count": result.usage.completion_tokens,
            "eval_duration": nanoseconds(timings.decode_seconds),
            "seed": result.seed,
            **details(result),
        }


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    """A token's log-probability, without alternatives if the request asked for none."""
    return entry if entry["top_logprobs"] else {name: entry[name] for name in ("token", "logprob", "bytes")}


def _written(line: dict[str, Any]) -> bytes:
    return json_bytes(line) + b"\n"
