"""Writes docs/http-api.md: every route of the server, the fields of its body, and its response.

python tools/http_api.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qwen3cpu.server.openapi.document import document, error_schema, error_statuses, plain_path
from qwen3cpu.server.openapi.operations import OPERATIONS, TAGS, Operation

PAGE = Path(__file__).parents[1] / "docs" / "http-api.md"
HEAD = """# HTTP API

<!-- Written by `python tools/http_api.py`. -->

All routes of `qwen3cpu serve`, the fields of their bodies, and their responses are on this page. The server has them
as an OpenAPI 3.1 document at `/openapi.json`, with the schemas of all bodies. [Serve](serving.md) explains them.

    curl http://127.0.0.1:8000/v1/chat/completions -H 'content-type: application/json' \\
      -d '{"messages": [{"role": "user", "content": "2 + 2?"}]}'

Bodies are JSON. `null` counts as a missing field. Fields that are not here are ignored, and the header
`x-qwen3cpu-ignored` names them. The routes `/tokenize`, `/detokenize`, `/apply-template` and `/page/` refuse them.
A server with an API key expects it as `Authorization: Bearer KEY` or as `x-api-key: KEY`. `/`, `/assets/` and `/health`
need no key.

"""
ERRORS = {
    "Error": '`{"error": {"message": ..., "type": ..., "param": ..., "code": ...}}`',
    "AnthropicError": '`{"type": "error", "error": {"type": ..., "message": ...}}`',
    "OllamaError": '`{"error": ...}`',
}
"""Schema of an error -> its JSON in short."""


def page() -> str:
    """The whole page."""
    schemas = document(needs_key=True)["components"]["schemas"]
    parts = [HEAD, "| route | what it does |\n|---|---|\n"]
    parts += [f"| [`{_title(each)}`](#{_anchor(each)}) | {each.summary} |\n" for each in OPERATIONS]
    for tag, text in TAGS.items():
        parts.append(f"\n## {tag}\n\n{text}\n")
        parts += [_section(each, schemas) for each in OPERATIONS if each.tag == tag]
    return "".join(parts)


def _title(operation: Operation) -> str:
    return f"{operation.method} {plain_path(operation.path)}"


def _anchor(operation: Operation) -> str:
    """The anchor that Markdown's extension toc makes for the title."""
    kept = "".join(each for each in _title(operation).lower() if each.isalnum() or each in "_- ")
    return kept.strip().replace(" ", "-")


def _section(operation: Operation, schemas: dict[str, Any]) -> str:
    lines = [f"\n### {_title(operation)}\n", operation.summary + ".\n"]
    lines += [f"Query: `{name}`. {text}\n" for name, text in operation.query]
    if operation.body is not None:
        lines += ["| field | type | meaning |", "|---|---|---|", *_fields(schemas[operation.body.__name__]), ""]
    lines.append(_response(operation, schemas) + "\n")
    statuses = ", ".join(str(status) for status in error_statuses(operation))
    form = ERRORS[error_schema(operation.path)]
    lines.append(f"An error has the form {form} and one of these statuses: {statuses}.")
    return "\n".join(lines) + "\n"


def _fields(schema: dict[str, Any]) -> list[str]:
    needed = schema.get("required", [])
    rows = []
    for name, each in schema["properties"].items():
        text = each["description"] + (" **Required.**" if name in needed else "")
        if each.get("default") not in (None, ""):
            text += f" Default: `{str(each['default']).lower()}`."
        rows.append(f"| `{name}` | {_kind(each)} | {text} |")
    return rows


def _kind(schema: dict[str, Any]) -> str:
    """The type of a value, in words."""
    if "anyOf" in schema:
        return ", ".join(dict.fromkeys(kind for each in schema["anyOf"] if (kind := _kind(each)) != "null"))
    if "$ref" in schema:
        return "object"
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    kind = schema.get("type", "any")
    if kind == "array":
        return "list" if "items" not in schema else f"list of {_kind(schema['items'])}"
    return str({"string": "text", "boolean": "true or false"}.get(kind, kind))


def _response(operation: Operation, schemas: dict[str, Any]) -> str:
    if operation.reply is None:
        return (
            "The response is empty." if operation.method == "DELETE" else f"The response is `{operation.media_type}`."
        )
    schema = schemas[operation.reply]
    forms = schema.get("anyOf", [schema])
    shown = [", ".join(f"`{name}`" for name in each["properties"]) for each in forms if "properties" in each]
    shown += [
        "a list of objects with " + ", ".join(f"`{name}`" for name in each["items"]["properties"])
        for each in forms
        if "items" in each
    ]
    text = f"The response has {'; or it is '.join(shown)}."
    if operation.stream is not None:
        text += f" With `stream` it is `{operation.stream[0]}`."
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
