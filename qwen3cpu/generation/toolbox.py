"""Tools that can be called: Python functions and the tools of MCP servers, and the messages with their results."""

from __future__ import annotations

import enum
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeAlias

from typing_extensions import Self

from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.mcp_servers import McpServers
from qwen3cpu.text.tool_calls import MalformedCall, ToolCall
from qwen3cpu.text.tool_schemas import Tool, annotations_of, parameters_of

CallableTool: TypeAlias = "Callable[..., Any] | McpServers"
"""A Python function, or MCP servers with all of their tools."""


class Toolbox:
    """Makes the calls that a model asks for. Inside a `with` statement its MCP servers run.

    Args:
        tools: functions and McpServers.

    Raises:
        ArgumentError: a tool that cannot be called.
    """

    def __init__(self, tools: Sequence[CallableTool]) -> None:
        self._tools = _checked(tools)
        self._stack = ExitStack()
        self._makers: dict[str, Callable[[ToolCall], Any]] = {}
        self.descriptions: list[Tool] = []
        """Descriptions of the tools for the model; complete inside the `with` statement."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for tool in self._tools:
                if isinstance(tool, McpServers):
                    stack.enter_context(tool.running())
                    for each in tool.tools:
                        self._add(each.name, each.description, partial(tool.call, each))
                else:
                    self._add(getattr(tool, "__name__", ""), tool, _caller(tool))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def results(self, calls: Sequence[ToolCall], malformed: Sequence[MalformedCall]) -> list[dict[str, Any]]:
        """Make calls, one after the other. Return messages with their results, and the errors of malformed calls."""
        told = [{"role": "tool", "content": f"Error: {call.reason}"} for call in malformed]
        return [*(self.result(call) for call in calls), *told]

    def result(self, call: ToolCall) -> dict[str, Any]:
        """Make a call. Return the message with its result, or with the error that it raised."""
        try:
            content = _as_text(self._makers[call.name](call))
        except Exception as error:  # a function may raise anything; the model is told
            content = f"Error: {type(error).__name__}: {error}"
        return self.message(call, content)

    @staticmethod
    def message(call: ToolCall, content: str) -> dict[str, Any]:
        """The message with the result of a call."""
        # A prompt cannot contain half a surrogate pair.
        content = content.encode("utf-8", "replace").decode("utf-8")
        return {"role": "tool", "content": content, "name": call.name, "tool_call_id": call.id}

    def _add(self, name: str, description: Tool, make: Callable[[ToolCall], Any]) -> None:
        self._makers[name] = make
        self.descriptions.append(description)


def _checked(tools: Sequence[CallableTool]) -> Sequence[CallableTool]:
    if not isinstance(tools, Sequence) or isinstance(tools, (str, bytes)):
        raise ArgumentError(f"tools: expected a list of functions, found {type(tools).__name__}")
    for index, tool in enumerate(tools):
        if isinstance(tool, McpServers):
            continue
        if not callable(tool) or isinstance(tool, (Mapping, type)):
            raise ArgumentError(f"tools[{index}]: expected a function that run can call, found {type(tool).__name__}")
        if inspect.iscoroutinefunction(tool):
            raise ArgumentError(
                f"tools[{index}]: expected a function, found a coroutine function; wrap it in a function that runs it"
            )
    return tools


def _caller(function: Callable[..., Any]) -> Callable[[ToolCall], Any]:
    return lambda call: function(**_arguments(function, call))


def _arguments(function: Callable[..., Any], call: ToolCall) -> dict[str, Any]:
    """Arguments of a call, converted to the function's annotations: pydantic models, enums, and int for floats."""
    annotations = annotations_of(function)
    known = {parameter.name for parameter in parameters_of(function)}
    unknown = [name for name in call.arguments if name not in known]
    if unknown:
        raise TypeError(f"{call.name}() has no parameter {unknown[0]!r}")
    return {name: _typed(annotations.get(name), value) for name, value in call.arguments.items()}


def _typed(annotation: Any, value: Any) -> Any:

    if isinstance(annotation, type):
        validate = getattr(annotation, "model_validate", None)
        if callable(validate):
            return validate(value)
        if issubclass(annotation, enum.Enum):
            return annotation(value)
        if annotation is int and isinstance(value, float):
            return int(value)
    return value


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if callable(getattr(value, "model_dump_json", None)):
        return str(value.model_dump_json())
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)
