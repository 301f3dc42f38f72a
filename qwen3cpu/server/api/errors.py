"""Turns errors into responses: the HTTP status of each error, and the JSON form that a path's clients expect."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from qwen3cpu.errors import ArgumentError, ContextLengthError, Qwen3CpuError
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.api.json_words import shown
from qwen3cpu.server.api.notes import notes_of
from qwen3cpu.server.models.errors import ModelInUseError, ModelTooLargeError, UnknownModelError
from qwen3cpu.server.scheduling.jobs import QueueFullError, ShuttingDownError, TimeLimitError

logger = logging.getLogger(__name__)

PLACE = re.compile(r"([a-z_]+)((?:\[\d+\]|\.\w+)*)(?=:| must | names )")
"""The argument, and the place in it, at the start of a message."""

OLLAMA_PATHS = "/api/"
"""The prefix of the paths of Ollama's API."""
ANTHROPIC_PATHS = "/v1/messages"
"""The prefix of the paths of Anthropic's API."""
ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
"""Status -> the type of the error in Anthropic's API."""

Endpoint = Callable[[Request], Awaitable[Response]]


class ApiError(Exception):
    """An error with an HTTP status.

    Args:
        status: HTTP status.
        message: the text for people.
        code: the name of the error for programs; None when the status is enough.
        param: the field of the request that is wrong.
        headers: more headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers = headers or {}

    def body(self, path: str = "") -> dict[str, Any]:
        """The error in the form that the clients of a path expect: Ollama's or Anthropic's, or else OpenAI's."""
        if path.startswith(OLLAMA_PATHS):
            return {"error": str(self)}
        if path.startswith(ANTHROPIC_PATHS):
            kind = "invalid_request_error" if self.status < 500 else "api_error"
            return {"type": "error", "error": {"type": ANTHROPIC_TYPES.get(self.status, kind), "message": str(self)}}
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        kind = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}.get(self.status, kind)
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    def response(self, path: str = "") -> Response:
        """The error as a response to a request for a path."""
        return Response(json_bytes(self.body(path)), self.status, self.headers, "application/json")

    def moved(self, places: Mapping[str, str]) -> ApiError:
        """The error with the name that the wrong field has in the client's request.

        Args:
            places: place in the body, as this server reads it -> the place in the request.
        """
        place = moved(self.param or "", places)
        if not self.param or place == self.param:
            return self
        message = place + str(self).removeprefix(self.param)
        return ApiError(self.status, message, code=self.code, param=place, headers=self.headers)


class ClientGoneError(Exception):
    """The client has gone away."""


def as_api_error(error: Exception) -> ApiError:
    """The ApiError for any error. An unknown error gets status 500 and is logged with its traceback."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ValidationError):
        return _invalid(error)
    if isinstance(error, QueueFullError):
        return ApiError(429, str(error), code="queue_full", headers={"retry-after": str(error.retry_after)})
    if isinstance(error, ShuttingDownError):
        return ApiError(503, str(error), code="shutting_down", headers={"retry-after": "5"})
    if isinstance(error, TimeLimitError):
        # The same request would take as long again.
        return ApiError(408, str(error), code="timeout", headers={"x-should-retry": "false"})
    if isinstance(error, UnknownModelError):
        return ApiError(404, str(error), code="model_not_found", param="model")
    if isinstance(error, ModelInUseError):
        return ApiError(409, str(error), code="model_in_use", param="model")
    if isinstance(error, ModelTooLargeError):
        # The model will never fit, so the same request cannot succeed.
        return ApiError(507, str(error), code="model_too_large", param="model", headers={"x-should-retry": "false"})
    if isinstance(error, ContextLengthError):
        return ApiError(400, str(error), code="context_length_exceeded")
    if isinstance(error, ArgumentError):
        place = PLACE.match(str(error))
        return ApiError(400, str(error), code="invalid_value", param=place[0] if place else None)
    if isinstance(error, RecursionError):
        return ApiError(400, "the body is nested too deeply", code="body_too_complex")
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, str(error.detail), headers=dict(error.headers or {}))
    logger.error("a request failed", exc_info=error)
    return ApiError(500, str(error) if isinstance(error, Qwen3CpuError) else "internal error", code="internal_error")


def guarded(endpoint: Endpoint) -> Endpoint:
    """Wrap an endpoint so that its errors become responses."""

    async def guard(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (ClientGoneError, ClientDisconnect):
            notes_of(request.scope).error = "cancelled"
            return Response(status_code=499)
        except Exception as error:
            # The ApiError is not stored in a variable: its traceback holds this frame, and a cycle would delay freeing
            # both.
            return _noted(request, as_api_error(error))

    return guard


def _noted(request: Request, error: ApiError) -> Response:
    """Note an error, and make its response."""
    notes_of(request.scope).error = error.code or str(error.status)
    return error.response(request.scope["path"])


def moved(place: str, places: Mapping[str, str]) -> str:
    """The place in the request of a place in the body.

    Args:
        place: such as `a.b[1]`.
        places: place in the body, as this server reads it -> the place in the request.
    """
    for length in range(len(place), 0, -1):
        if (length == len(place) or place[length] in ".[") and place[:length] in places:
            return places[place[:length]] + place[length:]
    return place


def _place(parts: tuple[int | str, ...]) -> str | None:
    """The text of a place, such as `messages[3].content`. The types of a union, which pydantic adds, are left out."""
    place = ""
    for part in parts:
        if isinstance(part, int):
            place += f"[{part}]"
        elif part.isidentifier() and part not in ("str", "int", "float", "bool", "dict", "list"):
            place += f".{part}"
    return place.removeprefix(".") or None


def _invalid(error: ValidationError) -> ApiError:
    """The ApiError for the first thing that is wrong with a body."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = _place(first["loc"])
    if first["type"] == "extra_forbidden":
        return ApiError(400, f"unknown field {place!r}", code="unknown_parameter", param=place)
    if first["type"] == "missing":  # what was found is the object that lacks the field
        return ApiError(400, f"{place}: field required", code="missing_required_parameter", param=place)
    what = first["msg"][0].lower() + first["msg"][1:]
    what = what.replace("should be None", "should be null").replace("valid dictionary", "valid object")
    return ApiError(400, f"{place}: {what}; found {shown(first['input'])}", code="invalid_type", param=place)
