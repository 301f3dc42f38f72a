"""POST /api/generate: an answer to a prompt. It may continue an earlier answer, or use no chat template."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.generation.options import Request
from qwen3cpu.generation.tool_choice import ToolUse
from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.asked_model import lent, read_model_body
from qwen3cpu.server.api.chat_input import (
    Asked,
    answer_schema,
    chat_request,
    checked_forms,
    grammar_maker,
    start_answer,
)
from qwen3cpu.server.api.client_names import client_names
from qwen3cpu.server.api.json_output import json_response
from qwen3cpu.server.api.ollama.bodies import OllamaGenerate
from qwen3cpu.server.api.ollama.load_only import loaded
from qwen3cpu.server.api.ollama.reply import OllamaReply, generate_piece
from qwen3cpu.server.api.reply import respond
from qwen3cpu.server.scheduling.service import Service


async def generate(http: HttpRequest) -> Response:
    """Serve a request."""
    arrival = Arrival(http)
    await arrival.read()
    with arrival.place():
        body, offer, _ = await read_model_body(http, arrival, OllamaGenerate, "generation")
        if not body.prompt:
            return json_response(await loaded(http, arrival, offer, body, generate_piece))
        service = await lent(http, arrival, offer, body)
        with client_names("prompt", body.names(), places=body.places):
            _, prompt, answers = await start_answer(
                service, arrival, partial(_asked, service, body), partial(_prompt, service, body)
            )
    reply = OllamaReply(service, arrival, body, prompt, answers, generate_piece, with_context=not body.raw)
    return await respond(http, reply, answers, stream=body.streams, lines=True)


def _asked(service: Service, body: OllamaGenerate) -> Asked:
    if not body.raw:
        return chat_request(service, body)
    schema = answer_schema(service, body.response_format)
    forms = checked_forms(service, body, schema)
    request = service.request(body.prompt, raw=True, **body.options())
    return Asked([], request, grammar_maker(service, ToolUse(), schema, forms, thinking=bool(request.thinking)))


def _prompt(service: Service, body: OllamaGenerate, asked: Asked) -> list[int]:
    if body.raw:
        return service.encode(body.prompt, asked.request)
    ids = service.encode(asked.messages, asked.request)
    if not body.context:
        return ids
    before = list(body.context)
    if before[-1] in service.model.eos_token_ids:
        before += _line_break(service, asked.request)
    with client_names("context"):
        return service.encode([*before, *ids], asked.request)


def _line_break(service: Service, request: Request) -> list[int]:
    """The ids of the line break between two messages."""
    return service.encode("\n", replace(request, raw=True))
