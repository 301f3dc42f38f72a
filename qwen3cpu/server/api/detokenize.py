"""POST /detokenize: the text of token ids."""

from __future__ import annotations

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.api.bodies import Body
from qwen3cpu.server.api.common import check_model
from qwen3cpu.server.api.json_output import json_response
from qwen3cpu.server.api.request_json import read_json
from qwen3cpu.server.scheduling.service import Service


class DetokenizeBody(Body):
    """POST /detokenize."""

    model: str | None = None
    tokens: list[int]


async def detokenize(http: HttpRequest) -> Response:
    """POST /detokenize."""
    service: Service = http.app.state.service
    body = DetokenizeBody.model_validate(await read_json(http, service.settings.max_body))
    check_model(service, body.model)
    text = service.model.tokenizer.decode(body.tokens, skip_special_tokens=False)
    return json_response({"prompt": text, "text": text})
