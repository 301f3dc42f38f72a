"""Python functions as tools: signature and docstring make the JSON schema that the chat template shows to the model."""

from __future__ import annotations

import enum
import inspect
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, Union

from qwen3cpu.arguments import shown
from qwen3cpu.errors import ArgumentError
from qwen3cpu.text.messages import check_tools

Tool: TypeAlias = "Mapping[str, Any] | Callable[..., Any]"
"""A JSON schema with a name, alone or under `function`; or a Python function."""
_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def tool_schemas(tools: object) -> list[dict[str, Any]] | None:
    """Return checked, plain descriptions of tools; `function_schema` describes functions among them.

    Raises:
        MessageError: not a list of schemas and functions; the message has the index and what was found.
        ArgumentError: a function that cannot be described, or two tools with the same name.
    """
    if isinstance(tools, Sequence) and not isinstance(tools, (str, bytes)):
        tools = [function_schema(tool) if _is_function(tool) else tool for tool in tools]
    checked = check_tools(tools)
    names = [tool.get("function", tool)["name"] for tool in checked or ()]
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(f"tools: expected different names, found {shown(name)} twice")
    return checked


def function_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """Describe a Python function or bound method: {"type": "function", "function": {name, description, parameters}}.

    Annotations may be str, int, float, bool, None, Any, list, tuple, set, dict, Literal, Optional and unions, enums,
    TypedDicts, pydantic models, and Annotated[..., "description"]; without one any value is allowed. A parameter with a
    default is optional. Descriptions of parameters are read from docstrings in Google's, NumPy's and Sphinx's style.

    Raises:
        ArgumentError: it has no name, takes parameters that cannot be given by name, or has an annotation that JSON
            cannot express; the message names function and parameter.
    """
    name = getattr(function, "__name__", "")
    if not name.isidentifier():
        raise ArgumentError(f"tools: expected a function with a name, found {shown(function)}")
    description, told = _documented(function)
    definitions: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    required = []
    annotations = annotations_of(function)
    for parameter in parameters_of(function):
        where = f"{name}({parameter.name})"
        schema = _schema(annotations.get(parameter.name, Any), where, definitions)
        if parameter.name in told:
            schema = {**schema, "description": told[parameter.name]}
        if parameter.default is inspect.Parameter.empty:
            required.append(parameter.name)
        elif parameter.default is not None and _is_json(parameter.default):
            schema = {**schema, "default": parameter.default}
        properties[parameter.name] = schema
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = required
    if definitions:
        parameters["$defs"] = definitions
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a function. ArgumentError if one of them cannot be given by name."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"tools: the signature of {function!r} cannot be read: {error}") from error
    for parameter in parameters:
        if parameter.kind not in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
            raise ArgumentError(
                f"tools: {getattr(function, '__name__', function)}: expected parameters that can be given by name, "
                f"found {parameter}"
            )
    return parameters


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function by parameter, evaluated."""
    try:
        return typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except Exception as error:
        raise ArgumentError(f"tools: annotations of {function!r} cannot be evaluated: {error}") from error


def _is_function(tool: object) -> bool:
    return callable(tool) and not isinstance(tool, (Mapping, type))


def _documented(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """The descriptions of the function and of each parameter in a docstring."""
    import docstring_parser

    parsed = docstring_parser.parse(inspect.getdoc(function) or "")
    paragraphs = [text for text in (parsed.short_description, parsed.long_description) if text]
    told = {each.arg_name.lstrip("*"): " ".join((each.description or "").split()) for each in parsed.params}
    return "\n\n".join(paragraphs), {name: text for name, text in told.items() if text}


def _schema(annotation: Any, where: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of an annotation; schemas that it refers to are added to `definitions`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any or annotation is object:
        return {}
    if annotation in _PLAIN:
        return {"type": _PLAIN[annotation]}
    if origin is typing.Annotated:
        schema = _schema(arguments[0], where, definitions)
        texts = [extra for extra in arguments[1:] if isinstance(extra, str)]
        return {**schema, "description": texts[0]} if texts else schema
    if origin is Literal:
        return _choices(arguments)
    if origin in (Union, types.UnionType):
        return _union([_schema(each, where, definitions) for each in arguments])
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _choices([member.value for member in annotation])
    if isinstance(annotation, type) and callable(getattr(annotation, "model_json_schema", None)):
        schema = annotation.model_json_schema()  # type: ignore[attr-defined]
        definitions.update(schema.pop("$defs", {}))
        return dict(schema)
    if typing.is_typeddict(annotation):
        fields = typing.get_type_hints(annotation, include_extras=False)
        properties = {key: _schema(each, f"{where}.{key}", definitions) for key, each in fields.items()}
        return {"type": "object", "properties": properties, "required": sorted(annotation.__required_keys__)}
    return _container(annotation, origin or annotation, arguments, where, definitions)


def _container(
    annotation: Any, origin: Any, arguments: tuple[Any, ...], where: str, definitions: dict[str, Any]
) -> dict[str, Any]:
    if not isinstance(origin, type):
        raise _not_json(annotation, where)
    if issubclass(origin, Mapping):
        if arguments and arguments[0] is not str:
            raise ArgumentError(f"tools: {where}: expected str for the keys of a dict, found {shown(arguments[0])}")
        values = _schema(arguments[1], where, definitions) if len(arguments) == 2 else {}
        return {"type": "object", "additionalProperties": values} if values else {"type": "object"}
    if issubclass(origin, tuple) and arguments and arguments[-1] is not Ellipsis:
        items = [_schema(each, where, definitions) for each in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin is Iterable or (issubclass(origin, (Sequence, set, frozenset)) and not issubclass(origin, (str, bytes))):
        each = _schema(arguments[0], where, definitions) if arguments and arguments[0] is not Ellipsis else {}
        schema: dict[str, Any] = {"type": "array", "items": each} if each else {"type": "array"}
        return {**schema, "uniqueItems": True} if issubclass(origin, (set, frozenset)) else schema
    raise _not_json(annotation, where)


def _not_json(annotation: Any, where: str) -> ArgumentError:
    return ArgumentError(f"tools: {where}: expected an annotation that JSON can express, found {shown(annotation)}")


def _choices(values: Sequence[Any]) -> dict[str, Any]:
    kinds = {_PLAIN.get(type(value)) for value in values}
    kind = kinds.pop() if len(kinds) == 1 else None
    return {"type": kind, "enum": list(values)} if kind else {"enum": list(values)}


def _union(schemas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The schema of a union. For plain types it is the list of their names, the form that models know best."""
    if all(set(schema) == {"type"} for schema in schemas):
        return {"type": [schema["type"] for schema in schemas]}
    return {"anyOf": list(schemas)}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
