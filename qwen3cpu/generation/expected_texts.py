"""Texts that look like the answer to a request with a schema or with tools. Drafts are taken from them too.

A schema fixes the names and the order of the properties, but not the white space. An example value, written in the two
usual ways, contains all the text around the values.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

MOST_CHARACTERS: Final = 16_000
"""Most characters of all texts together; texts beyond that are left out."""
_MOST_DEPTH: Final = 6
_WORDS: Final[Mapping[str, Any]] = {"string": "a", "integer": 0, "number": 0, "boolean": True, "null": None}


def expected_texts(schema: Mapping[str, Any] | None, tools: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """Return texts that an answer may look like.

    Args:
        schema: of the answer; None: it has none.
        tools: descriptions of the functions that may be called, as the prompt shows them.
    """
    values = [] if schema is None else [example(schema, schema)]
    found = [json.dumps(value, ensure_ascii=False, indent=indent) for value in values for indent in (None, 2)]
    for tool in tools or ():
        function = tool.get("function", tool)
        parameters = function.get("parameters") or {}
        call = {"name": function.get("name", ""), "arguments": example(parameters, parameters)}
        found.append(f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>")
    ends = itertools.accumulate(map(len, found))
    return [text for text, end in zip(found, ends, strict=True) if end <= MOST_CHARACTERS]


def example(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Any:
    """Make an example for a schema: all properties, two items of an array, short words. A word stands for the rest.

    Args:
        schema: of the value.
        root: the schema in which references are looked up.
        depth: of the value; below _MOST_DEPTH levels it is a word.
    """
    if not isinstance(schema, Mapping) or depth > _MOST_DEPTH:
        return "a"
    if isinstance(reference := schema.get("$ref"), str):
        return example(_looked_up(reference, root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if isinstance(values := schema.get("enum"), Sequence) and values:
        return values[0]
    for name in ("anyOf", "oneOf", "allOf"):
        if isinstance(kinds := schema.get(name), Sequence) and kinds:
            return example(kinds[0], root, depth + 1)
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        return {str(name): example(each, root, depth + 1) for name, each in properties.items()}
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, Sequence) and not isinstance(kind, str) and kind else kind
    if kind == "array" or "items" in schema:
        return [example(schema.get("items"), root, depth + 1)] * 2
    return {} if kind == "object" else _WORDS.get(str(kind), "a")


def _looked_up(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for name in reference.removeprefix("#").split("/")[1:]:
        found = found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found
