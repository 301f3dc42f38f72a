"""The tool loop: makes the calls that a model asks for and feeds the results back, until the model answers."""

from __future__ import annotations

import enum
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.answerer import AnsweringModel
from qwen3cpu.generation.results import Result
from qwen3cpu.text.prompts import Message
from qwen3cpu.text.tool_calls import ToolCall
from qwen3cpu.text.tool_schemas import Tool, annotations_of, parameters_of


@dataclass(frozen=True)
class RunResult:
    """What `Model.run` came to."""

    text: str
    """The last answer."""
    messages: tuple[dict[str, Any], ...]
    """The conversation: what was given, every answer with its calls, the results of calls."""
    steps: tuple[Result, ...]
    """Every answer."""
    stopped_by: Literal["answer", "max_steps"]
    """"max_steps": the last answer had calls still, which have not been made."""


def run_tools(
    model: AnsweringModel,
    messages: Sequence[Message],
    tools: Sequence[Tool],
    max_steps: int,
    options: Mapping[str, Any],
) -> RunResult:
    """See `Model.run`."""
    functions = _functions(tools)
    options = dict(options)
    history = [dict(message) for message in messages]
    steps: list[Result] = []
    sequence = model.engine.new_sequence()
    try:
        while len(steps) < max_steps:
            request = model.answerer.request(history, tools=tools, **options)
            if request.n is not None:
                raise ArgumentError("n: a run has one answer to a step")
            for chunk in model.answerer.stream(history, request, sequence):
                if chunk.result is not None:
                    steps.append(chunk.result)
            result = steps[-1]
            if options.get("tool_choice") not in (None, "none"):
                options["tool_choice"] = "auto"  # the model may answer once it has called
            history.append(result.to_message())
            if not result.tool_calls and not result.malformed_calls:
                return RunResult(result.text, tuple(history), tuple(steps), "answer")
            if len(steps) < max_steps:
                history += [_made(functions[call.name], call) for call in result.tool_calls]
                history += [{"role": "tool", "content": f"Error: {call.reason}"} for call in result.malformed_calls]
    finally:
        sequence.release()
    return RunResult(result.text, tuple(history), tuple(steps), "max_steps")


def _functions(tools: Sequence[Tool]) -> dict[str, Callable[..., Any]]:
    if not isinstance(tools, Sequence) or isinstance(tools, (str, bytes)):
        raise ArgumentError(f"tools: expected a list of functions, found {type(tools).__name__}")
    functions = {}
    for index, tool in enumerate(tools):
        if not callable(tool) or isinstance(tool, (Mapping, type)):
            raise ArgumentError(f"tools[{index}]: expected a function, which run can call, found {type(tool).__name__}")
        if inspect.iscoroutinefunction(tool):
            raise ArgumentError(f"tools[{index}]: expected a function, found a coroutine function; call it in one")
        functions[getattr(tool, "__name__", "")] = tool
    return functions


def _made(function: Callable[..., Any], call: ToolCall) -> dict[str, Any]:
    """The message with the result of a call, or with the error that it raised."""
    try:
        content = _as_text(function(**_arguments(function, call)))
    except Exception as error:  # whatever a function may raise: the model is told
        content = f"Error: {type(error).__name__}: {error}"
    # Half a surrogate pair has no place in a prompt.
    content = content.encode("utf-8", "replace").decode("utf-8")
    return {"role": "tool", "content": content, "name": call.name, "tool_call_id": call.id}


def _arguments(function: Callable[..., Any], call: ToolCall) -> dict[str, Any]:
    """Arguments of the types that the function says, where pydantic models or enums are asked for."""
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
