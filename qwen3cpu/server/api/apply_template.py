"""POST /apply-template: converts messages to a text with the chat template."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.asked_model import ask_plainly
from qwen3cpu.server.api.bodies import Body, Items, thinking_options
from qwen3cpu.server.api.calling import check_calling
from qwen3cpu.server.api.chat_input import check_counts
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.api.message_forms import plain_messages
from qwen3cpu.server.scheduling.service import Service


class TemplateOptions(Body):
    """The arguments of the chat template besides the messages."""

    model: str | None = None
    tools: Items[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    chat_template_kwargs: dict[str, Any] | None = None


class TemplateBody(TemplateOptions):
    """POST /apply-template."""

    messages: Items[dict[str, Any]]


async def apply_template(http: HttpRequest) -> Response:
    """POST /apply-template."""
    arrival = Arrival(http)
    service, body = await ask_plainly(http, arrival, TemplateBody)
    data = await arrival.work(partial(_reply, service, body))
    return Response(data, media_type="application/json")


def _reply(service: Service, body: TemplateBody) -> bytes:
    return json_bytes({"prompt": render(service, body.messages, body)})


def render(service: Service, messages: list[dict[str, Any]], body: TemplateOptions) -> str:
    """Convert messages to a text with the chat template and the options of a body. Errors: see `Model.render`."""
    check_counts(service, messages, body.tools)
    thinking = thinking_options(None, body.chat_template_kwargs, None).get("thinking", "auto")
    plain = plain_messages(messages)
    check_calling(service, plain, tools=bool(body.tools))
    return service.model.render(plain, body.tools, thinking, body.add_generation_prompt)
