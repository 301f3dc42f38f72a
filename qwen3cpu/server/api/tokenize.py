"""POST /tokenize: token ids of a prompt, or of messages."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.apply_template import TemplateOptions, render
from qwen3cpu.server.api.common import check_model
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.json_output import json_response
from qwen3cpu.server.api.request_json import read_json
from qwen3cpu.server.scheduling.service import Service


class TokenizeBody(TemplateOptions):
    """POST /tokenize: `prompt` as it is, or `messages` through the chat template."""

    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    add_special_tokens: bool = True  # Qwen3 has none to add
    return_token_strs: bool = False


async def tokenize(http: HttpRequest) -> Response:
    """POST /tokenize."""
    service: Service = http.app.state.service
    body = TokenizeBody.model_validate(await read_json(http, service.settings.max_body))
    check_model(service, body.model)
    if (body.prompt is None) == (body.messages is None):
        raise ApiError(400, "prompt: expected either prompt or messages", param="prompt")
    text = body.prompt
    if body.messages is not None:
        text = await render(service, body.messages, body)
    tokenizer = service.model.tokenizer
    ids = await asyncio.to_thread(tokenizer.encode, text or "", control_tokens=True)
    reply: dict[str, Any] = {"tokens": ids, "count": len(ids), "max_model_len": service.model.context}
    if body.return_token_strs:
        reply["token_strs"] = [tokenizer.decode([id_], skip_special_tokens=False) for id_ in ids]
    return json_response(reply)
