"""Answers in the form of Anthropic's API: a message of content blocks, whole or as events."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from qwen3cpu.generation.results import Chunk, Result
from qwen3cpu.server.api.anthropic.bodies import MessagesBody
from qwen3cpu.server.api.common import details
from qwen3cpu.server.api.errors import ANTHROPIC_PATHS, as_api_error
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.api.tool_calls import arguments_text
from qwen3cpu.server.scheduling.service import Answers, Service
from qwen3cpu.text.tool_calls import ToolCall

Event = dict[str, Any]


class MessagesReply:
    """Writes the answer to one request.

    Args:
        service: has the model.
        body: the body of the request.
        prompt: ids of the prompt.
        answers: the answers to it.
    """

    def __init__(self, service: Service, body: MessagesBody, prompt: list[int], answers: Answers) -> None:
        self._answers = answers
        self._blocks = _Blocks()
        self._message: dict[str, Any] = {
            "id": f"msg_{secrets.token_hex(12)}",
            "type": "message",
            "role": "assistant",
            "model": body.model or service.settings.model_name,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": len(prompt),
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 0,
            },
            "seed": answers.jobs[0].request.sampling.seed,
        }

    @property
    def id(self) -> str:
        """The id of the response."""
        return str(self._message["id"])

    async def whole(self) -> dict[str, Any]:
        """The whole reply."""
        message = self._message
        async for event in self._all_events():
            if event["type"] == "message_delta":
                message = {**message, "content": self._blocks.done, **event["delta"], "usage": event["usage"]}
        return message

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The reply as server-sent events."""
        try:
            async for event in self._all_events():
                yield _sse(event)
        except Exception as error:
            yield _sse(as_api_error(error).body(ANTHROPIC_PATHS))

    async def _all_events(self) -> AsyncGenerator[Event, None]:
        yield {"type": "message_start", "message": self._message}
        async for _, chunk in self._answers.chunks():
            for event in self._blocks.add(chunk):
                yield event
            if chunk.result is not None:
                for event in self._blocks.close():
                    yield event
                yield _end(chunk.result)
        yield {"type": "message_stop"}


class _Blocks:
    """Builds the content blocks of one answer from chunks, and makes their events."""

    def __init__(self) -> None:
        self.done: list[dict[str, Any]] = []
        """Blocks that are complete."""
        self._kind: str | None = None
        self._text: list[str] = []

    def add(self, chunk: Chunk) -> Iterator[Event]:
        """The events of a chunk."""
        yield from self._more("thinking", chunk.reasoning)
        yield from self._more("text", chunk.text)
        for call in chunk.tool_calls:
            yield from self.close()
            yield from self._call(call)

    def close(self) -> Iterator[Event]:
        """End the block that is open, if one is."""
        if self._kind is None:
            return
        text = "".join(self._text)
        block: dict[str, Any] = {"type": self._kind, self._kind: text}
        if self._kind == "thinking":
            block["signature"] = _signature(text)
            yield self._delta({"type": "signature_delta", "signature": block["signature"]})
        yield from self._stop(block)
        self._kind = None

    def _more(self, kind: str, text: str) -> Iterator[Event]:
        """Add text to the open block of this kind. If another one is open, close it and begin a new one."""
        if not text:
            return
        if kind != self._kind:
            yield from self.close()
            self._kind, self._text = kind, []
            yield self._start({"type": kind, kind: "", **({"signature": ""} if kind == "thinking" else {})})
        self._text.append(text)
        yield self._delta({"type": f"{kind}_delta", kind: text})

    def _call(self, call: ToolCall) -> Iterator[Event]:
        block = {"type": "tool_use", "id": call.id.replace("call_", "toolu_", 1), "name": call.name}
        yield self._start({**block, "input": {}})
        yield self._delta({"type": "input_json_delta", "partial_json": arguments_text(call)})
        yield from self._stop({**block, "input": call.arguments})

    def _start(self, block: dict[str, Any]) -> Event:
        return {"type": "content_block_start", "index": len(self.done), "content_block": block}

    def _delta(self, delta: dict[str, Any]) -> Event:
        return {"type": "content_block_delta", "index": len(self.done), "delta": delta}

    def _stop(self, block: dict[str, Any]) -> Iterator[Event]:
        yield {"type": "content_block_stop", "index": len(self.done)}
        self.done.append(block)


def _end(result: Result) -> Event:
    """The event with the reason of the end and token counts. The prompt's count leaves out cached tokens."""
    reason, sequence = _stop_reason(result)
    counts = result.usage
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": sequence, **details(result)},
        "usage": {
            "input_tokens": counts.prompt_tokens - counts.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": counts.cached_tokens,
            "output_tokens": counts.completion_tokens,
            "output_tokens_details": {"thinking_tokens": counts.reasoning_tokens},
        },
    }


def _stop_reason(result: Result) -> tuple[str, str | None]:
    """`stop_reason`, and the stop sequence that ended the answer."""
    if result.finish_reason == "length":
        return "model_context_window_exceeded" if result.stopped_by == "context" else "max_tokens", None
    if result.tool_calls:
        return "tool_use", None
    if result.stopped_by == "stop_string":
        return "stop_sequence", str(result.stop)
    return "end_turn", None


def _signature(thinking: str) -> str:
    """The signature of a thinking block, which clients expect and send back. It is not checked."""
    return base64.b64encode(hashlib.sha256(thinking.encode("utf-8", "replace")).digest()).decode()


def _sse(event: Event) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), json_bytes(event))
