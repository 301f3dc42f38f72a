"""GET /openapi.json: the document, built from the table of routes, the bodies and the schemas of responses."""

from __future__ import annotations

import re
from functools import cache, partial
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu._version import VERSION
from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.errors import ANTHROPIC_PATHS, OLLAMA_PATHS
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.gate import is_open
from qwen3cpu.server.models.lender import Lender
from qwen3cpu.server.openapi.operations import JSON, LINES, OPERATIONS, TAGS, Operation
from qwen3cpu.server.openapi.replies import REPLIES
from qwen3cpu.server.openapi.requests import schemas_of

Json = dict[str, Any]

PARAMETERS = {"model": "The model's name.", "name": "The file's name."}
"""Parameter in a path -> what it means."""

KEYS: list[Json] = [{"bearer": []}, {"apiKey": []}]
"""Two ways to send the API key; either is enough."""
ALWAYS = {
    405: "The path does not have this method; Allow lists those that it has.",
    421: "The server does not answer under the name in the Host header.",
    500: "The server failed.",
}
WITH_KEY = {401: "The API key is missing or wrong."}
WITH_BODY = {
    400: "The body is not valid, or a value in it is not allowed.",
    408: "The request took too long.",
    413: "The body is too large.",
    415: "The body is not JSON.",
}
WITH_FILE = {404: "There is no file of that name."}
WITH_WORK = {
    422: "The text or file cannot be read, or a limit of time or memory was reached.",
    429: "Too many requests are waiting.",
}
WITH_TOOLS = {403: "Another web page asks."}
WITH_CALL = {404: "There is no tool of that name.", 429: "Too many calls run."}
WITH_NAME = {404: "There is no model of that name.", 503: "The server is shutting down."}
WITH_MODEL = {
    408: "The request took too long.",
    429: "Too many requests are waiting; Retry-After says when to try again.",
    507: "The model does not fit into memory.",
}
MANAGED = {
    403: "The server was started without --manage-models, or the model is not in the folder.",
    409: "The model is in use.",
}
"""Statuses of errors, and what they mean."""


async def openapi(http: HttpRequest) -> Response:
    """GET /openapi.json."""
    lender: Lender = http.app.state.lender
    data = await Arrival(http).work(partial(_document_bytes, lender.settings.api_key is not None))
    return Response(data, media_type=JSON)


@cache
def _document_bytes(needs_key: bool) -> bytes:
    return json_bytes(document(needs_key=needs_key))


def document(*, needs_key: bool) -> Json:
    """The OpenAPI document. needs_key: whether the server asks for an API key."""
    bodies = list(dict.fromkeys(each.body for each in OPERATIONS if each.body is not None))
    paths: Json = {}
    for each in OPERATIONS:
        paths.setdefault(plain_path(each.path), {})[each.method.lower()] = _operation(each, needs_key)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "qwen3cpu",
            "version": VERSION,
            "summary": "Qwen3 language models on ordinary CPUs",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": {**schemas_of(bodies), **REPLIES},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": KEYS if needs_key else [{}, *KEYS],
    }


def plain_path(path: str) -> str:
    """A path without Starlette's converters."""
    return re.sub(r":\w+}", "}", path)


def error_statuses(operation: Operation) -> dict[int, str]:
    """Statuses of the errors that a route may answer with, and what they mean."""
    found = dict(ALWAYS)
    if not is_open(operation.path):
        found |= WITH_KEY
    if operation.body is not None:
        found |= WITH_BODY
    if operation.uses_model or "{model" in operation.path or operation.path == "/api/show":
        found |= WITH_NAME
    if operation.uses_model:
        found |= WITH_MODEL
    if operation.path == "/assets/{name}":
        found |= WITH_FILE
    if operation.path.startswith("/page/tools"):
        found |= WITH_TOOLS if operation.body is None else {**WITH_TOOLS, **WITH_CALL}
    elif operation.path.startswith("/page/"):
        found |= WITH_WORK
    if operation.path in ("/api/pull", "/api/delete"):
        found |= {**WITH_NAME, **MANAGED} if operation.method == "DELETE" else {**WITH_NAME, 403: MANAGED[403]}
    return dict(sorted(found.items()))


def error_schema(path: str) -> str:
    """Return the name of the schema of errors on a path."""
    if path.startswith(OLLAMA_PATHS):
        return "OllamaError"
    return "AnthropicError" if path.startswith(ANTHROPIC_PATHS) else "Error"


def _operation(operation: Operation, needs_key: bool) -> Json:
    """Return the description of a route in the form of OpenAPI."""
    words = re.sub(r"\W+", "_", plain_path(operation.path)).strip("_") or "page"
    found: Json = {
        "operationId": f"{operation.method.lower()}_{words}",
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": _responses(operation),
    }
    places = [(name, "path", PARAMETERS[name]) for name in re.findall(r"{(\w+)", operation.path)]
    places += [(name, "query", text) for name, text in operation.query]
    if places:
        found["parameters"] = [
            {"name": name, "in": where, "description": text, "schema": {"type": "string"}, "required": where == "path"}
            for name, where, text in places
        ]
    if operation.body is not None:
        content = {JSON: {"schema": _ref(operation.body.__name__)}}
        found["requestBody"] = {"required": True, "content": content}
    if is_open(operation.path):
        found["security"] = []
    return found


def _responses(operation: Operation) -> Json:
    content: Json = {}
    if operation.reply is not None:
        content[JSON] = {"schema": _ref(operation.reply)}
    elif operation.method != "DELETE":
        content[operation.media_type] = {"schema": {"type": "object" if operation.media_type == JSON else "string"}}
    if operation.stream is not None:
        media_type, name = operation.stream
        what = "JSON lines" if media_type == LINES else "server-sent events, whose data are JSON"
        text = f"{what} of the form #/components/schemas/{name}"
        content[media_type] = {"schema": {"type": "string", "description": text}}
    responses: Json = {"200": {"description": "Done.", **({"content": content} if content else {})}}
    for status, text in error_statuses(operation).items():
        responses[str(status)] = {
            "description": text,
            "content": {JSON: {"schema": _ref(error_schema(operation.path))}},
        }
    if operation.path == "/health":
        responses["503"] = {"description": "No requests are taken.", "content": {JSON: {"schema": _ref("Health")}}}
    return responses


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
