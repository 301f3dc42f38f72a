"""POST /v1/responses: text, reasoning and function calls as items, whole or as events."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Iterator
from functools import partial
from time import time
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.generation.options import Request
from qwen3cpu.generation.results import Chunk, Result
from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.asked_model import ask_model
from qwen3cpu.server.api.chat_input import start_answer
from qwen3cpu.server.api.client_names import client_names
from qwen3cpu.server.api.errors import as_api_error
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.api.reply import respond
from qwen3cpu.server.api.responses_input import ResponsesBody, message_places, responses_request
from qwen3cpu.server.api.tool_calls import arguments_text
from qwen3cpu.server.scheduling.service import Answers, Service
from qwen3cpu.text.tool_calls import ToolCall

Event = dict[str, Any]


async def responses(http: HttpRequest) -> Response:
    """Serve a request."""
    arrival = Arrival(http)
    await arrival.read()
    with arrival.place():
        service, body = await ask_model(http, arrival, ResponsesBody, "generation")
        names = {"max_new_tokens": "max_output_tokens", "schema": "text.format.schema"}
        places = await arrival.work(partial(message_places, body))
        with client_names("input", names, {**body.places, **places}):
            request, _, answers = await start_answer(
                service,
                arrival,
                partial(responses_request, service, body),
                lambda asked: service.encode(asked.messages, asked.request),
            )
    reply = ResponsesReply(service, body, request, answers)
    return await respond(http, reply, answers, stream=bool(body.stream))


class ResponsesReply:
    """Writes the answer to one request."""

    def __init__(self, service: Service, body: ResponsesBody, request: Request, answers: Answers) -> None:
        self._answers = answers
        self._items = _Items()
        sampling = answers.jobs[0].request.sampling
        self._response: dict[str, Any] = {
            "id": f"resp_{secrets.token_hex(24)}",
            "object": "response",
            "created_at": int(time()),
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": service.settings.model_name,
            "output": [],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": None if body.reasoning is None else body.reasoning.effort, "summary": None},
            "seed": sampling.seed,
            "store": False,
            "temperature": sampling.temperature,
            "text": {"format": {"type": "text"}} if body.text is None else body.text.model_dump(by_alias=True),
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [],
            "top_p": sampling.top_p,
            "truncation": "disabled",
            "usage": None,
            "user": body.user,
        }

    @property
    def id(self) -> str:
        """The id of the response."""
        return str(self._response["id"])

    async def whole(self) -> dict[str, Any]:
        """The whole reply."""
        async for event in self._all_events():
            if event["type"] in ("response.completed", "response.incomplete"):
                response: dict[str, Any] = event["response"]
        return response

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The reply as server-sent events."""
        number = 0
        try:
            async for event in self._all_events():
                yield _sse(event, number)
                number += 1
        except Exception as error:
            problem = as_api_error(error)
            failure = {"code": problem.code or "server_error", "message": str(problem)}
            failed = {**self._response, "status": "failed", "error": failure}
            yield _sse({"type": "response.failed", "response": failed}, number)

    async def _all_events(self) -> AsyncGenerator[Event, None]:
        yield {"type": "response.created", "response": self._response}
        yield {"type": "response.in_progress", "response": self._response}
        async for _, chunk in self._answers.chunks():
            for event in self._items.add(chunk):
                yield event
            if chunk.result is not None:
                for event in self._items.close("incomplete" if chunk.finish_reason == "length" else "completed"):
                    yield event
                yield self._end(chunk.result)

    def _end(self, result: Result) -> Event:
        status = "incomplete" if result.finish_reason == "length" else "completed"
        # OpenAI's API has no other reason for an incomplete answer.
        details = {"reason": "max_output_tokens"}
        if result.stopped_by in ("loop", "schema"):
            details["detail"] = result.stopped_by  # not in OpenAI's API: no limit of tokens ended it
        counts = result.usage
        response = {
            **self._response,
            "status": status,
            "incomplete_details": details if status == "incomplete" else None,
            **({"schema_errors": list(result.schema_errors)} if result.schema_errors else {}),
            "output": self._items.done,
            "usage": {
                "input_tokens": counts.prompt_tokens,
                "input_tokens_details": {"cached_tokens": counts.cached_tokens},
                "output_tokens": counts.completion_tokens,
                "output_tokens_details": {"reasoning_tokens": counts.reasoning_tokens},
                "total_tokens": counts.total_tokens,
            },
        }
        return {"type": f"response.{status}", "response": response}


class _Items:
    """Builds the output items of one response from chunks, and makes their events."""

    def __init__(self) -> None:
        self.done: list[dict[str, Any]] = []
        """Items that are complete."""
        self._kind: str | None = None
        self._id = ""
        self._text: list[str] = []

    def add(self, chunk: Chunk) -> Iterator[Event]:
        """The events of a chunk."""
        yield from self._more("reasoning", chunk.reasoning)
        yield from self._more("message", chunk.text)
        for call in chunk.tool_calls:
            yield from self.close("completed")
            yield from self._call(call)

    def close(self, status: str) -> Iterator[Event]:
        """End the item that is open, if one is."""
        if self._kind is None:
            return
        text = "".join(self._text)
        part = _part(self._kind, text)
        item = {**_item(self._kind, self._id, status), "content": [part]}
        place = {"item_id": self._id, "output_index": len(self.done), "content_index": 0}
        if self._kind == "reasoning":
            yield {"type": "response.reasoning_text.done", **place, "text": text}
        else:
            yield {"type": "response.output_text.done", **place, "text": text, "logprobs": []}
        yield {"type": "response.content_part.done", **place, "part": part}
        yield {"type": "response.output_item.done", "output_index": len(self.done), "item": item}
        self.done.append(item)
        self._kind = None

    def _more(self, kind: str, text: str) -> Iterator[Event]:
        """Add text to the open item of this kind. If another one is open, close it and begin a new one."""
        if not text:
            return
        if kind != self._kind:
            yield from self.close("completed")
            self._kind = kind
            self._id = f"{'rs' if kind == 'reasoning' else 'msg'}_{secrets.token_hex(24)}"
            self._text = []
            item = _item(kind, self._id, "in_progress")
            yield {"type": "response.output_item.added", "output_index": len(self.done), "item": item}
            place = {"item_id": self._id, "output_index": len(self.done), "content_index": 0}
            yield {"type": "response.content_part.added", **place, "part": _part(kind, "")}
        self._text.append(text)
        place = {"item_id": self._id, "output_index": len(self.done), "content_index": 0}
        if kind == "reasoning":
            yield {"type": "response.reasoning_text.delta", **place, "delta": text}
        else:
            yield {"type": "response.output_text.delta", **place, "delta": text, "logprobs": []}

    def _call(self, call: ToolCall) -> Iterator[Event]:
        item = {
            "id": f"fc_{secrets.token_hex(24)}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": arguments_text(call),
        }
        index = len(self.done)
        begun = {**item, "status": "in_progress", "arguments": ""}
        place = {"item_id": item["id"], "output_index": index}
        yield {"type": "response.output_item.added", "output_index": index, "item": begun}
        yield {"type": "response.function_call_arguments.delta", **place, "delta": arguments_text(call)}
        yield {
            "type": "response.function_call_arguments.done",
            **place,
            "name": call.name,
            "arguments": arguments_text(call),
        }
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
        self.done.append(item)


def _item(kind: str, id_: str, status: str) -> dict[str, Any]:
    item: dict[str, Any] = {"id": id_, "type": kind, "status": status, "content": []}
    return {**item, "summary": []} if kind == "reasoning" else {**item, "role": "assistant"}


def _part(kind: str, text: str) -> dict[str, Any]:
    if kind == "reasoning":
        return {"type": "reasoning_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _sse(event: Event, number: int) -> bytes:
    data = json_bytes({**event, "sequence_number": number})
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), data)
