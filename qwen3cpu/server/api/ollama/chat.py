"""POST /api/chat."""

from __future__ import annotations

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.asked_model import lent, read_model_body
from qwen3cpu.server.api.chat_input import start_chat
from qwen3cpu.server.api.json_output import json_response
from qwen3cpu.server.api.ollama.bodies import OllamaChat
from qwen3cpu.server.api.ollama.load_only import loaded
from qwen3cpu.server.api.ollama.reply import OllamaReply, chat_piece
from qwen3cpu.server.api.reply import respond


async def chat(http: HttpRequest) -> Response:
    """Serve a request."""
    arrival = Arrival(http)
    await arrival.read()
    with arrival.place():
        body, offer, _ = await read_model_body(http, arrival, OllamaChat, "generation")
        if not body.messages:
            return json_response(await loaded(http, arrival, offer, body, chat_piece))
        service = await lent(http, arrival, offer, body)
        prompt, answers = await start_chat(service, arrival, body)
    reply = OllamaReply(service, arrival, body, prompt, answers, chat_piece)
    return await respond(http, reply, answers, stream=body.streams, lines=True)
