"""The lines of the output: answers and errors, in OpenAI's form, or in this package's form for lines of its own."""

from __future__ import annotations

import json
from typing import Any, Final

from qwen3cpu.batch.ids import Ids
from qwen3cpu.batch.input_file import Line, LineError
from qwen3cpu.batch.requests import is_openai
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.json_output import json_bytes

START: Final = b'{"id":"batch_req_'
"""The first bytes of every line."""


def beginning(ids: Ids) -> bytes:
    """The first bytes of the line of the output with these ids. No other line begins with them."""
    return json_bytes({"id": ids.line})[:-1] + b","


def is_error(data: bytes) -> bool:
    """Whether a line of the output has an error."""
    found = json.loads(data)
    return found["error"] is not None or (found.get("response") or {}).get("status_code", 200) != 200


def answer_line(line: Line, ids: Ids, reply: Any) -> bytes:
    """An answered line. reply: the body of a response, or its JSON; for a line in this package's form, the result."""
    if not is_openai(line):
        head = {"id": ids.line, "custom_id": line.custom_id, "line": line.number}
        return json_bytes({**head, "result": reply, "error": None})
    return _response(line, ids, 200, reply)


def error_line(line: Line, ids: Ids, error: ApiError) -> bytes:
    """A line with an error. For an invalid body it holds the response that the server would send."""
    told = error.body()
    if is_openai(line) and not isinstance(error, LineError):
        return _response(line, ids, error.status, told)
    about = {**told["error"], "line": line.number}
    head = {"id": ids.line, "custom_id": line.custom_id}
    if line.given is None or is_openai(line):
        return json_bytes({**head, "response": None, "error": about})
    return json_bytes({**head, "line": line.number, "result": None, "error": about})


def _response(line: Line, ids: Ids, status: int, body: Any) -> bytes:
    head = {"id": ids.line, "custom_id": line.custom_id}
    told = json_bytes({**head, "response": {"status_code": status, "request_id": ids.request}})[:-2]
    return told + b',"body":' + (body if isinstance(body, bytes) else json_bytes(body)) + b'},"error":null}'
