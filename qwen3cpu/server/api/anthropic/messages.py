"""POST /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.errors import ContextLengthError
from qwen3cpu.server.api.anthropic.bodies import MessagesBody
from qwen3cpu.server.api.anthropic.reply import MessagesReply
from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.asked_model import ask_model
from qwen3cpu.server.api.chat_input import chat_prompt, chat_request, start_chat
from qwen3cpu.server.api.client_names import client_names
from qwen3cpu.server.api.json_output import json_response
from qwen3cpu.server.api.reply import respond
from qwen3cpu.server.scheduling.service import Service

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
"""The event that a stream gets after a time without tokens."""


async def messages(http: HttpRequest) -> Response:
    """POST /v1/messages."""
    arrival = Arrival(http)
    await arrival.read()
    with arrival.place():
        service, body = await ask_model(http, arrival, MessagesBody, "generation")
        prompt, answers = await start_chat(service, arrival, body)
    reply = MessagesReply(service, body, prompt, answers)
    return await respond(http, reply, answers, stream=bool(body.stream), ping=PING)


async def count_tokens(http: HttpRequest) -> Response:
    """POST /v1/messages/count_tokens. It also counts prompts that do not fit into the context."""
    arrival = Arrival(http)
    service, body = await ask_model(http, arrival, MessagesBody, "generation")
    with client_names("messages", body.names(), places=body.places):
        count = await arrival.work(partial(_count, service, body, arrival))
    return json_response({"input_tokens": count})


def _count(service: Service, body: MessagesBody, arrival: Arrival) -> int:
    asked = chat_request(service, body)
    try:
        return len(chat_prompt(service, body, asked.messages, asked.request))
    except ContextLengthError:
        tools = None if asked.request.tools is None else list(asked.request.tools)
        text = service.model.render(asked.messages, tools, asked.request.thinking, not body.continue_final_message)
        return len(service.model.tokenizer.encode(text, control_tokens=True, watch=arrival.watch))
