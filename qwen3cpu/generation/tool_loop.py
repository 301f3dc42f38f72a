"""The tool loop: makes the calls that a model asks for and feeds the results back, until the model answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.answerer import AnsweringModel
from qwen3cpu.generation.results import Result
from qwen3cpu.generation.toolbox import CallableTool, Toolbox
from qwen3cpu.text.messages import check_messages
from qwen3cpu.text.prompts import Message


@dataclass(frozen=True)
class RunResult:
    """The result of `Model.run`."""

    text: str
    """The last answer."""
    messages: tuple[dict[str, Any], ...]
    """The conversation: the given messages, every answer with its calls, the results of calls."""
    steps: tuple[Result, ...]
    """Every answer."""
    stopped_by: Literal["answer", "max_steps"]
    """"max_steps": the last answer has calls that were not made."""


def run_tools(
    model: AnsweringModel,
    messages: Sequence[Message],
    tools: Sequence[CallableTool],
    max_steps: int,
    options: Mapping[str, Any],
) -> RunResult:
    """See `Model.run`."""
    with Toolbox(tools) as toolbox:
        return _run(model, messages, toolbox, max_steps, dict(options))


def _run(
    model: AnsweringModel, messages: Sequence[Message], toolbox: Toolbox, max_steps: int, options: dict[str, Any]
) -> RunResult:
    check_messages(messages)
    history = [dict(message) for message in messages]
    steps: list[Result] = []
    sequence = model.engine.new_sequence()
    try:
        while len(steps) < max_steps:
            request = model.answerer.request(history, tools=toolbox.descriptions, **options)
            if request.n is not None:
                raise ArgumentError(f"n: expected None, because a step has one answer, found {request.n}")
            for chunk in model.answerer.stream(history, request, sequence):
                if chunk.result is not None:
                    steps.append(chunk.result)
            result = steps[-1]
            if options.get("tool_choice") not in (None, "none"):
                options["tool_choice"] = "auto"  # after its first call the model may answer
            history.append(result.to_message())
            if not result.tool_calls and not result.malformed_calls:
                return RunResult(result.text, tuple(history), tuple(steps), "answer")
            if len(steps) < max_steps:
                history += toolbox.results(result.tool_calls, result.malformed_calls)
    finally:
        sequence.release()
    return RunResult(result.text, tuple(history), tuple(steps), "max_steps")
