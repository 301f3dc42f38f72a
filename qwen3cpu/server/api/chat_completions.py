"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.generation.results import Chunk, Result
from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.asked_model import ask_model
from qwen3cpu.server.api.bodies import ChatBody
from qwen3cpu.server.api.chat_input import start_chat
from qwen3cpu.server.api.common import details, head, usage
from qwen3cpu.server.api.errors import as_api_error
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.api.logprobs import ContentLogprobs
from qwen3cpu.server.api.reply import respond
from qwen3cpu.server.api.tool_calls import chat_call
from qwen3cpu.server.scheduling.service import Answers, Service
from qwen3cpu.text.output_splitter import starts_thinking


async def chat_completions(http: HttpRequest) -> Response:
    """Serve a request."""
    arrival = Arrival(http)
    await arrival.read()
    with arrival.place():
        service, body = await ask_model(http, arrival, ChatBody, "generation")
        prompt, answers = await start_chat(service, arrival, body)
    reply = ChatReply(service, body, prompt, answers)
    return await respond(http, reply, answers, stream=bool(body.stream))


class ChatReply:
    """Writes the answers to one request."""

    def __init__(self, service: Service, body: ChatBody, prompt: list[int], answers: Answers) -> None:
        self._service = service
        self._body = body
        self._answers = answers
        self._head = head(service, "chatcmpl", "chat.completion.chunk" if body.stream else "chat.completion")
        self._head["seed"] = answers.jobs[0].request.sampling.seed
        tokenizer = service.model.tokenizer
        in_thinking = starts_thinking(prompt, tokenizer)
        self._content = [ContentLogprobs(tokenizer, in_thinking=in_thinking) for _ in range(body.n or 1)]

    @property
    def id(self) -> str:
        """The id of the response."""
        return str(self._head["id"])

    async def whole(self) -> dict[str, Any]:
        """The whole reply."""
        results = await self._answers.results()
        choices = await self._service.workshop.run("reply", lambda: [self._choice(result) for result in results])
        return {**self._head, "choices": choices, "usage": usage([(result.usage, 0) for result in results])}

    def _choice(self, result: Result) -> dict[str, Any]:
        calls = [chat_call(call) for call in result.tool_calls]
        content = result.text or (None if calls else "")
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        if result.reasoning:
            message["reasoning_content"] = result.reasoning
        if calls and self._body.calls_as_function:
            message["function_call"] = calls[0]["function"]
        elif calls:
            message["tool_calls"] = calls
        return {
            "index": result.index,
            "message": message,
            "logprobs": self._logprobs(result),
            "finish_reason": self._finish_reason(result, len(calls)),
            **details(result),
        }

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The reply as server-sent events."""
        results = []
        calls = [0] * len(self._content)
        try:
            for index in range(len(self._content)):
                yield self._event(index, {"role": "assistant", "content": ""})
            async for index, chunk in self._answers.chunks():
                delta: dict[str, Any] = {}
                if chunk.reasoning:
                    delta["reasoning_content"] = chunk.reasoning
                if chunk.tool_calls and self._body.calls_as_function:
                    delta["function_call"] = chat_call(chunk.tool_calls[0])["function"]
                    calls[index] += 1
                elif chunk.tool_calls:
                    numbered = enumerate(chunk.tool_calls, calls[index])
                    delta["tool_calls"] = [{"index": number, **chat_call(call)} for number, call in numbered]
                    calls[index] += len(chunk.tool_calls)
                if chunk.text:
                    delta["content"] = chunk.text
                logprobs = self._logprobs(chunk)
                if delta or (logprobs and logprobs["content"]):
                    yield self._event(index, delta, logprobs)
                if chunk.result is not None:
                    results.append(chunk.result)
                    reason = self._finish_reason(chunk.result, calls[index])
                    yield self._event(index, {}, finish_reason=reason, more=details(chunk.result))
            if self._body.include_usage:
                counts = usage([(result.usage, 0) for result in results])
                yield _event({**self._head, "choices": [], "usage": counts})
            yield b"data: [DONE]\n\n"
        except Exception as error:
            yield _event(as_api_error(error).body())

    def _event(
        self,
        index: int,
        delta: dict[str, Any],
        logprobs: dict[str, Any] | None = None,
        finish_reason: str | None = None,
        more: dict[str, Any] | None = None,
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason, **(more or {})}
        return _event({**self._head, "choices": [choice]})

    def _finish_reason(self, result: Result, calls: int) -> str:
        if calls and result.finish_reason == "stop":
            return "function_call" if self._body.calls_as_function else "tool_calls"
        return result.finish_reason

    def _logprobs(self, part: Chunk | Result) -> dict[str, Any] | None:
        if not self._body.logprobs:
            return None
        return {"content": self._content[part.index].content(part), "refusal": None}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json_bytes(value) + b"\n\n"
