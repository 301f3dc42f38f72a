"""Endpoints that need no forward pass: models, tokenize, detokenize, apply-template, embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.bodies import Body
from qwen3cpu.server.api.chat_input import check_counts, plain_messages
from qwen3cpu.server.api.common import check_model
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.json_output import json_response
from qwen3cpu.server.api.request_json import read_json
from qwen3cpu.server.scheduling.service import Service


class TokenizeBody(Body):
    """POST /tokenize: `prompt` as it is, or `messages` through the chat template."""

    model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    add_special_tokens: bool = True  # Qwen3 has none to add
    return_token_strs: bool = False
    chat_template_kwargs: dict[str, Any] | None = None


class DetokenizeBody(Body):
    """POST /detokenize."""

    model: str | None = None
    tokens: list[int]


class TemplateBody(Body):
    """POST /apply-template."""

    model: str | None = None
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    chat_template_kwargs: dict[str, Any] | None = None


async def models(http: HttpRequest) -> Response:
    """GET /v1/models."""
    return json_response({"object": "list", "data": [_card(http.app.state.service, http.app.state.started)]})


async def one_model(http: HttpRequest) -> Response:
    """GET /v1/models/{model}."""
    service: Service = http.app.state.service
    check_model(service, http.path_params["model"])
    return json_response(_card(service, http.app.state.started))


def _card(service: Service, started: int) -> dict[str, Any]:
    model = service.model
    return {
        "id": service.settings.model_name,
        "object": "model",
        "created": started,
        "owned_by": "qwen3cpu",
        "max_model_len": model.context,
        "quantization": model.quant,
        "parameters": model.config.parameters(),
        "thinking": model.tokenizer.think is not None,
    }


async def tokenize(http: HttpRequest) -> Response:
    """POST /tokenize."""
    service: Service = http.app.state.service
    body = TokenizeBody.model_validate(await read_json(http, service.settings.max_body))
    check_model(service, body.model)
    if (body.prompt is None) == (body.messages is None):
        raise ApiError(400, "prompt: expected either prompt or messages", param="prompt")
    text = body.prompt
    if body.messages is not None:
        text = await _render(service, body.messages, body)
    tokenizer = service.model.tokenizer
    ids = await asyncio.to_thread(tokenizer.encode, text or "", control_tokens=True)
    reply: dict[str, Any] = {"tokens": ids, "count": len(ids), "max_model_len": service.model.context}
    if body.return_token_strs:
        reply["token_strs"] = [tokenizer.decode([id_], skip_special_tokens=False) for id_ in ids]
    return json_response(reply)


async def detokenize(http: HttpRequest) -> Response:
    """POST /detokenize."""
    service: Service = http.app.state.service
    body = DetokenizeBody.model_validate(await read_json(http, service.settings.max_body))
    check_model(service, body.model)
    text = service.model.tokenizer.decode(body.tokens, skip_special_tokens=False)
    return json_response({"prompt": text, "text": text})


async def tokenizer_info(http: HttpRequest) -> Response:
    """GET /tokenizer_info: what an evaluation harness asks before it uses /tokenize."""
    service: Service = http.app.state.service
    named = service.model.tokenizer.named_tokens
    eos = min(service.model.eos_token_ids, default=None)
    return json_response(
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "bos_token": named.get("bos_token"),
            "eos_token": named.get("eos_token") or service.model.tokenizer.decode([eos], skip_special_tokens=False)
            if eos is not None
            else None,
            "pad_token": named.get("pad_token"),
            "model_max_length": service.model.context,
        }
    )


async def apply_template(http: HttpRequest) -> Response:
    """POST /apply-template."""
    service: Service = http.app.state.service
    body = TemplateBody.model_validate(await read_json(http, service.settings.max_body))
    check_model(service, body.model)
    return json_response({"prompt": await _render(service, body.messages, body)})


async def embeddings(http: HttpRequest) -> Response:
    """POST /v1/embeddings: none of the models that this package runs is made for them."""
    service: Service = http.app.state.service
    body: Mapping[str, Any] = await read_json(http, service.settings.max_body)
    check_model(service, body.get("model") if isinstance(body.get("model"), str) else None)
    raise ApiError(
        400,
        f"{service.settings.model_name} is a language model, not an embedding model; expected a request to "
        "/v1/chat/completions, /v1/completions or /v1/responses",
        code="not_an_embedding_model",
        param="model",
    )


async def _render(service: Service, messages: list[dict[str, Any]], body: TokenizeBody | TemplateBody) -> str:
    from qwen3cpu.server.api.bodies import thinking_options

    check_counts(service, messages, body.tools)
    thinking = thinking_options(None, body.chat_template_kwargs, None).get("thinking", "auto")
    return await asyncio.to_thread(
        service.model.render, plain_messages(messages), body.tools, thinking, body.add_generation_prompt
    )
