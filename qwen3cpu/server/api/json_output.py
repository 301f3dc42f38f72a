"""Writes JSON as bytes, for responses and server-sent events."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response


def json_bytes(value: Any) -> bytes:
    """Compact JSON. A lone surrogate, which has no UTF-8 form, becomes a question mark."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def json_response(value: Any, status: int = 200) -> Response:
    """A JSON response."""
    return Response(json_bytes(value), status, media_type="application/json")
