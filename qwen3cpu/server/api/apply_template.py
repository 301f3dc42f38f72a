"""POST /apply-template: the text that the chat template makes of messages."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.bodies import Body, thinking_options
from qwen3cpu.server.api.chat_input import check_counts, plain_messages
from qwen3cpu.server.api.common import check_model
from qwen3cpu.server.api.json_output import json_response
from qwen3cpu.server.api.request_json import read_json
from qwen3cpu.server.scheduling.service import Service


class TemplateOptions(Body):
    """What the chat template is rendered with, besides the messages."""

    model: str | None = None
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    chat_template_kwargs: dict[str, Any] | None = None


class TemplateBody(TemplateOptions):
    """POST /apply-template."""

    messages: list[dict[str, Any]]


async def apply_template(http: HttpRequest) -> Response:
    """POST /apply-template."""
    service: Service = http.app.state.service
    body = TemplateBody.model_validate(await read_json(http, service.settings.max_body))
    check_model(service, body.model)
    return json_response({"prompt": await render(service, body.messages, body)})


async def render(service: Service, messages: list[dict[str, Any]], body: TemplateOptions) -> str:
    """The text that the chat template makes of messages with the options of a body. Errors as of `Model.render`."""
    check_counts(service, messages, body.tools)
    thinking = thinking_options(None, body.chat_template_kwargs, None).get("thinking", "auto")
    return await asyncio.to_thread(
        service.model.render, plain_messages(messages), body.tools, thinking, body.add_generation_prompt
    )
