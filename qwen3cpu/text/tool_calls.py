"""Reads the tool calls that a model wrote, and checks them against the tools' schemas."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from qwen3cpu.errors import ArgumentError, MessageError
from qwen3cpu.text.call_json import read_values
from qwen3cpu.text.memo import bytes_of, remembered
from qwen3cpu.text.messages import plain_json
from qwen3cpu.text.schemas.reading import shown

if TYPE_CHECKING:
    from qwen3cpu.text.schemas.checking import SchemaChecker

OPENING, CLOSING = "<tool_call>", "</tool_call>"
KEPT_BYTES: Final = 32 << 20
"""Most bytes of checkers of tools that are kept."""
_ARGUMENTS = ("arguments", "parameters")
"""Names that models use for the arguments; the first is that of Qwen3's template."""
_BESIDE = ("name", "id", "type", "index", *_ARGUMENTS)
"""Usual names in a call. A call with other names and without arguments is a mistake, not a call without arguments."""
_CHECKER: Final = 4096
"""Bytes of a checker without its schema."""


@dataclass(frozen=True)
class ToolCall:
    """A call that a model asks for.

    Attributes:
        name: of the function.
        arguments: by name; built of JSON's own types.
        id: made here, because models write none. The result's message has it as `tool_call_id`.
        unchecked: parts of the tool's schema that were not checked, with the reason, such as a back reference.
    """

    name: str
    arguments: dict[str, Any]
    id: str = field(default_factory=lambda: f"call_{secrets.token_hex(12)}", compare=False)
    unchecked: tuple[str, ...] = field(default=(), compare=False)

    def to_message(self) -> dict[str, Any]:
        """The call in the form of `tool_calls` in an assistant's message."""
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }


@dataclass(frozen=True)
class MalformedCall:
    """A <tool_call> block that is not a valid call.

    Attributes:
        text: the visible text of the block, with its tags; without the closing tag if the block was not closed.
        reason: what was expected and what was found.
    """

    text: str
    reason: str


class CallReader:
    """Reads the calls of one answer.

    Args:
        functions: checkers of the arguments, by name of the function; None: any call is valid.
    """

    def __init__(self, functions: Mapping[str, SchemaChecker] | None) -> None:
        self._functions = functions

    def read(self, written: str, *, closed: bool = True) -> list[ToolCall] | MalformedCall:
        """The calls in a block: {"name": ..., "arguments": {...}}, or several of these.

        If one of them is not valid, the whole block is malformed.

        Args:
            written: the text between the tags.
            closed: whether the block has a closing tag; without it, `written` is all text after the opening tag.
        """
        try:
            return self._read(written)
        except MessageError as error:
            from qwen3cpu.text.schemas.check_keywords import shortened

            text = f"{OPENING}\n{written}\n{CLOSING}" if closed else OPENING + written
            return MalformedCall(text, shortened(str(error)))

    def _read(self, written: str) -> list[ToolCall]:
        calls = [
            call for value in _parse(written, "the call") for call in (value if isinstance(value, list) else [value])
        ]
        if not calls:
            raise MessageError("the call: expected a JSON object, found an empty list")
        if len(calls) == 1:
            return [self._call(calls[0], "")]
        return [self._call(call, f"call {number}: ") for number, call in enumerate(calls, 1)]

    def _call(self, call: Any, which: str) -> ToolCall:
        if not isinstance(call, dict):
            raise MessageError(f"{which or 'the call: '}expected a JSON object, found {type(call).__name__}")
        if "name" not in call and isinstance(call.get("function"), dict):
            call = call["function"]  # as in OpenAI's messages
        name = call.get("name")
        if not isinstance(name, str) or not name:
            raise MessageError(f"{which}name: expected the function's name, found {name!r}")
        arguments = _arguments(call, which)
        unchecked: tuple[str, ...] = ()
        if self._functions is not None:
            if name not in self._functions:
                known = ", ".join(sorted(self._functions)) or "none"
                raise MessageError(f"{which}name: expected one of the tools ({known}), found {name!r}")
            findings = self._functions[name].check(arguments)
            problem = findings.problem("arguments")
            if problem is not None:
                raise MessageError(which + problem)
            unchecked = findings.unchecked
        return ToolCall(name, arguments, unchecked=unchecked)


def argument_validators(tools: Sequence[Mapping[str, Any]] | None) -> dict[str, SchemaChecker] | None:
    """Make checkers for the arguments of each tool, by its name.

    Args:
        tools: descriptions from `with_checkable_parameters`; None gives None.

    Raises:
        ArgumentError: `parameters` is not an object.
    """
    return None if tools is None else dict(_checkers(json.dumps(tools)))


def _checkers_bytes(args: tuple[str], found: Mapping[str, SchemaChecker]) -> int:
    return bytes_of(args) + sum(_CHECKER + bytes_of(checker.schema) for checker in found.values())


@remembered(KEPT_BYTES, _checkers_bytes)
def _checkers(tools: str) -> dict[str, SchemaChecker]:
    """Make the checkers of tools. That takes milliseconds, and every message of a conversation has the same tools."""
    # Imported here: most answers have no tools.
    from qwen3cpu.text.schemas.checking import SchemaChecker

    found: dict[str, SchemaChecker] = {}
    for index, tool in enumerate(json.loads(tools)):
        function = tool.get("function", tool)
        schema = function.get("parameters")
        if schema is not None and not isinstance(schema, dict):
            place = f"tools[{index}]{'.function' if 'function' in tool else ''}.parameters"
            raise ArgumentError(f"{place}: expected a JSON schema (an object), found {shown(schema)}")
        found[function["name"]] = SchemaChecker(schema or {})
    return found


def _arguments(call: Mapping[str, Any], which: str) -> dict[str, Any]:
    given = [name for name in _ARGUMENTS if name in call]
    if len(given) == 2 and call[given[0]] != call[given[1]]:
        raise MessageError(f"{which}arguments: expected them once, found both 'arguments' and 'parameters'")
    if not given:
        other = [name for name in call if name not in _BESIDE]
        if other:
            raise MessageError(f"{which}arguments: expected them under 'arguments', found {other[0][:60]!r} instead")
        return {}
    arguments = call[given[0]]
    if isinstance(arguments, str):
        # JSON inside JSON, as in OpenAI's messages.
        values = _parse(arguments, f"{which}arguments")
        arguments = values[0] if len(values) == 1 else values  # several values become a list, which is refused below
    if not isinstance(arguments, dict):
        raise MessageError(f"{which}arguments: expected a JSON object, found {json.dumps(arguments)}")
    return arguments


def _parse(text: str, name: str) -> list[Any]:
    try:
        values = read_values(text)
    except RecursionError:
        raise MessageError(f"{name}: expected less nesting") from None
    except ValueError as error:
        raise MessageError(f"{name}: expected JSON, found a mistake: {error}") from None
    # Refuse values that a later prompt could not contain, such as half a surrogate pair.
    return [plain_json(value, name) for value in values]
