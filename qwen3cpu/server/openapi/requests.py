"""The schemas of bodies: those of the pydantic models, and the forms that clients of other servers may send instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from qwen3cpu.server.api.anthropic.bodies import KINDS as THINKING_KINDS
from qwen3cpu.server.api.anthropic.bodies import MessagesBody
from qwen3cpu.server.api.bodies import ChatBody, CompletionBody, ForeignBody, Generation
from qwen3cpu.server.api.foreign_fields import RENAMED
from qwen3cpu.server.api.ollama.bodies import (
    NamedModel,
    OllamaBody,
    OllamaChat,
    OllamaDelete,
    OllamaEmbed,
    OllamaEmbeddings,
    OllamaGenerate,
    OllamaPull,
)
from qwen3cpu.server.api.responses_input import ResponsesBody
from qwen3cpu.server.api.search_bodies import RerankBody, SearchBody
from qwen3cpu.server.api.search_fields import KINDS, TRUNCATE
from qwen3cpu.server.api.search_fields import RENAMED as SEARCH_RENAMED
from qwen3cpu.server.api.tokenize import TokenizeBody
from qwen3cpu.server.openapi.fields import DESCRIPTIONS

Schema = dict[str, Any]

REF = "#/components/schemas/{model}"
"""The place of a schema in the document."""
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
OBJECTS: Schema = {"type": "array", "items": OBJECT}
NOTHING: Schema = {"type": "null"}


def either(*schemas: Schema) -> Schema:
    """A schema for values that match one of several schemas."""
    return {"anyOf": list(schemas)}


BIAS: Schema = either(OBJECT, {"type": "array", "items": {"type": "array", "minItems": 2, "maxItems": 2}})
JSON_SCHEMA: Schema = either(OBJECT, TEXT)
TURNS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"role": TEXT, "content": either(TEXT, OBJECTS, NOTHING)},
        "required": ["role"],
    },
}
TYPED: Schema = {"type": "object", "properties": {"type": TEXT}, "required": ["type"]}
TEXTS: Schema = either(TEXT, {"type": "array", "items": either(TEXT, {"type": "integer"}, {"type": "array"})})

FOREIGN: dict[str, Schema] = {
    "guided_json": JSON_SCHEMA,
    "json_schema": JSON_SCHEMA,
    "format": JSON_SCHEMA,
    "structured_outputs": OBJECT,
    "options": OBJECT,
}
"""Fields of other servers in bodies for answers."""
THINKING: dict[str, Schema] = {
    "enable_thinking": FLAG,
    "think": either(FLAG, TEXT),
    "thinking": either(FLAG, TEXT, OBJECT),
}
"""The same for bodies that use the chat template."""
KEEP_ALIVE = either({"type": "number"}, TEXT)

WRITTEN: dict[type[BaseModel], dict[str, Schema]] = {
    Generation: FOREIGN,
    ChatBody: {"logit_bias": BIAS, "reasoning": OBJECT, "functions": OBJECTS, "function_call": either(TEXT, OBJECT)}
    | THINKING,
    CompletionBody: {"logit_bias": BIAS, "suffix": {"const": ""}},
    ResponsesBody: THINKING,
    MessagesBody: {
        "messages": TURNS,
        "system": either(TEXT, OBJECTS),
        "stop_sequences": {"type": "array", "items": TEXT},
        "thinking": {"type": "object", "properties": {"type": {"enum": list(THINKING_KINDS)}}, "required": ["type"]},
        "tool_choice": TYPED,
        "output_config": OBJECT,
        "output_format": TYPED,
        "metadata": OBJECT,
    },
    OllamaBody: {"keep_alive": KEEP_ALIVE},
    OllamaGenerate: {"images": {"maxItems": 0, "type": "array"}, "template": {"const": ""}, "suffix": {"const": ""}},
    SearchBody: {"truncate": either(FLAG, {"type": "string", "enum": [*TRUNCATE, *map(str.lower, TRUNCATE)]})},
    OllamaEmbed: {"options": OBJECT, "keep_alive": KEEP_ALIVE},
    NamedModel: {"name": TEXT},
}
"""Fields as clients write them, where this differs from the pydantic model; for the class and those below it."""
OPTIONAL: dict[type[BaseModel], frozenset[str]] = {OllamaChat: frozenset(("messages",))}
"""Fields that the pydantic model requires, but a client may leave out."""
ONE_OF: dict[type[BaseModel], tuple[str, ...]] = {
    RerankBody: ("documents", "texts"),
    TokenizeBody: ("prompt", "messages"),
    OllamaPull: ("model", "name"),
    OllamaDelete: ("model", "name"),
}
"""Fields of which a client must give one."""
HIDDEN: dict[type[BaseModel], frozenset[str]] = {
    OllamaGenerate: frozenset(("messages", "tools", "functions", "function_call")),
    OllamaEmbeddings: frozenset(("input",)),
    MessagesBody: frozenset(("functions", "function_call", "reasoning", "think", "enable_thinking")),
}
"""Fields that a class has for internal use, or only because its base class has them."""


def schemas_of(kinds: Iterable[type[BaseModel]]) -> dict[str, Schema]:
    """The schemas of bodies and of the objects in them, by name, for `components.schemas`."""
    _, made = models_json_schema([(kind, "validation") for kind in kinds], ref_template=REF)
    found: dict[str, Schema] = {name: _without_titles(each) for name, each in made["$defs"].items()}
    for kind in kinds:
        found[kind.__name__] = _as_written(kind, found[kind.__name__])
    return found


def _as_written(kind: type[BaseModel], schema: Schema) -> Schema:
    """The schema of a body as clients write it."""
    properties = dict(schema["properties"])
    required = [name for name in schema.get("required", ()) if name not in OPTIONAL.get(kind, ())]
    foreign = issubclass(kind, ForeignBody)
    for above in reversed(kind.__mro__):
        properties |= WRITTEN.get(above, {})
    hidden = set(HIDDEN.get(kind, ())) | {"calls_as_function"}
    if issubclass(kind, Generation):
        hidden |= {name for name in kind.left_out if name not in WRITTEN.get(kind, {})}
    if issubclass(kind, SearchBody) and "kind" in properties:
        words = [word for group in KINDS.values() for word in group]
        properties["kind"] = {"type": "string", "enum": words, "default": "document"}
    properties = {name: each for name, each in properties.items() if name not in hidden}
    if foreign:
        properties = {name: each if name in required else _or_null(each) for name, each in properties.items()}
    shown = {name: {**each, "description": DESCRIPTIONS[name]} for name, each in properties.items()}
    aliases = _aliases(kind, shown)
    for name, own in aliases.items():
        shown[name] = {**_or_null(shown[own]), "description": f"The same as `{own}`."}
    result: Schema = {"type": "object", "properties": shown, "additionalProperties": foreign}
    plain = [name for name in required if name not in hidden and name not in aliases.values()]
    if plain:
        result["required"] = plain
    if kind in ONE_OF:
        result["anyOf"] = [{"required": [name]} for name in ONE_OF[kind]]
    for own in required:
        names = [own, *(name for name in aliases if aliases[name] == own)]
        if len(names) > 1 and own not in hidden:
            result["anyOf"] = [{"required": [name]} for name in names]
    return result


def _aliases(kind: type[BaseModel], properties: Mapping[str, Schema]) -> dict[str, str]:
    """Other servers' names of fields that a body has -> their names here."""
    renamed: Mapping[str, str] = {}
    if issubclass(kind, Generation):
        longest = "max_output_tokens" if issubclass(kind, ResponsesBody) else "max_tokens"
        renamed = {name: longest if own == "max_tokens" else own for name, own in RENAMED.items()}
    elif issubclass(kind, SearchBody):
        renamed = SEARCH_RENAMED
    return {name: own for name, own in renamed.items() if own in properties and name not in properties}


def _or_null(schema: Schema) -> Schema:
    """The schema with null allowed, which means that the field was not given."""
    kinds = schema.get("anyOf")
    if kinds is None:
        default = {"default": schema["default"]} if "default" in schema else {}
        return {**either({name: each for name, each in schema.items() if name != "default"}, NOTHING), **default}
    return schema if NOTHING in kinds else {**schema, "anyOf": [*kinds, NOTHING]}


def _without_titles(schema: Any) -> Any:
    """The schema without the titles that pydantic makes from names."""
    if isinstance(schema, dict):
        return {
            name: _without_titles(each)
            for name, each in schema.items()
            if not (name == "title" and isinstance(each, str))
        }
    return [_without_titles(each) for each in schema] if isinstance(schema, list) else schema
