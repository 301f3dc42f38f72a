"""Reads the tool calls that a model wrote, and checks them against the tools' schemas."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from qwen3cpu.errors import ArgumentError, MessageError
from qwen3cpu.text.messages import plain_json

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

LONGEST_REASON = 300
"""Characters of a reason; that of a large schema would quote all of it."""


@dataclass(frozen=True)
class ToolCall:
    """A call that a model wants to be made.

    Attributes:
        name: of the function.
        arguments: by name; built of JSON's own types.
        id: made up here, models write none; it belongs into the result's message as `tool_call_id`.
    """

    name: str
    arguments: dict[str, Any]
    id: str = field(default_factory=lambda: f"call_{secrets.token_hex(12)}", compare=False)

    def to_message(self) -> dict[str, Any]:
        """As it stands in the `tool_calls` of an assistant's message."""
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }


@dataclass(frozen=True)
class MalformedCall:
    """A <tool_call> block that is not a valid call.

    Attributes:
        text: the block as it is shown, with its tags.
        reason: what was expected and what was found.
    """

    text: str
    reason: str


class CallReader:
    """Reads the calls of one answer.

    Args:
        functions: schema of the arguments by name of the function, checked; None: any call will do.
    """

    def __init__(self, functions: Mapping[str, Validator] | None) -> None:
        self._functions = functions

    def read(self, written: str) -> ToolCall | MalformedCall:
        """The call in a block whose content is `written`: {"name": ..., "arguments": {...}}."""
        try:
            return self._read(written)
        except MessageError as error:
            return MalformedCall(f"<tool_call>\n{written}\n</tool_call>", _shortened(str(error)))

    def _read(self, written: str) -> ToolCall:
        call = _parse(written, "the call")
        name = call.get("name")
        if not isinstance(name, str) or not name:
            raise MessageError(f"name: expected the function's name, found {name!r}")
        arguments = call.get("arguments", {})
        if isinstance(arguments, str):
            # JSON inside JSON, as in OpenAI's messages.
            arguments = _parse(arguments, "arguments")
        if not isinstance(arguments, dict):
            raise MessageError(f"arguments: expected a JSON object, found {json.dumps(arguments)}")
        if self._functions is not None:
            if name not in self._functions:
                known = ", ".join(sorted(self._functions)) or "none"
                raise MessageError(f"name: expected one of the tools ({known}), found {name!r}")
            _validate(self._functions[name], arguments)
        return ToolCall(name, arguments)


def argument_validators(tools: Sequence[Mapping[str, Any]] | None) -> dict[str, Validator] | None:
    """What checks the arguments of each tool, by its name.

    Args:
        tools: descriptions as `check_tools` leaves them; None gives None.

    Raises:
        ArgumentError: `parameters` is no JSON schema.
    """
    return None if tools is None else dict(_validators(json.dumps(tools)))


@lru_cache(maxsize=64)
def _validators(tools: str) -> dict[str, Validator]:
    """The same tools come with every message of a conversation, and checking their schemas takes milliseconds."""
    if tools == "[]":
        return {}
    from jsonschema import exceptions, validators
    from referencing import Registry

    found: dict[str, Validator] = {}
    for index, tool in enumerate(json.loads(tools)):
        function = tool.get("function", tool)
        where, schema = f"tools[{index}].parameters", function.get("parameters")
        if schema is None:
            schema = {}
        if not isinstance(schema, dict):
            raise ArgumentError(f"{where}: expected a JSON schema (a dict), found {schema!r}")
        kind = validators.validator_for(schema)
        try:
            kind.check_schema(schema)
        except exceptions.SchemaError as error:
            place = "".join(f".{part}" for part in error.absolute_path)
            raise ArgumentError(f"{where}{place}: {_shortened(error.message)}") from error
        # With a registry of its own nothing is fetched from anywhere.
        found[function["name"]] = kind(schema, registry=Registry())
    return found


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise MessageError(f"{name}: expected less nesting") from None
    except ValueError as error:
        raise MessageError(f"{name}: expected JSON, found a mistake: {error}") from None
    if not isinstance(value, dict):
        raise MessageError(f"{name}: expected a JSON object, found {type(value).__name__}")
    # What a later prompt could not hold (half a surrogate pair, say) is no call either.
    plain: dict[str, Any] = plain_json(value, name)
    return plain


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _validate(validator: Validator, arguments: dict[str, Any]) -> None:
    from jsonschema import exceptions
    from referencing.exceptions import Unresolvable

    try:
        error = exceptions.best_match(validator.iter_errors(arguments))
    except (Unresolvable, RecursionError) as problem:
        raise MessageError(f"arguments: cannot be checked: {problem}") from problem
    if error is not None:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        raise MessageError(f"arguments{place}: {error.message}")


def _shortened(reason: str) -> str:
    return reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON - 3]}..."
