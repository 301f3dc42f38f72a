"""How an answer may call tools: `tool_choice` and `parallel_tool_calls`, for Python and for the server's requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qwen3cpu.arguments import shown
from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.constraints import AnswerForm

CHOICES = ("auto", "none", "required")


@dataclass(frozen=True)
class ToolUse:
    """The functions that an answer may call, and how it may call them.

    Attributes:
        functions: name, description, parameters and strict of each, checked.
        places: where each stands in the caller's arguments, as in `tools[2].function`.
        choice: none, auto, required, or the name of a function.
        several: whether an answer may have more than one call.
    """

    functions: tuple[Mapping[str, Any], ...] = ()
    places: tuple[str, ...] = ()
    choice: str = "auto"
    several: bool = True

    @property
    def forced(self) -> bool:
        """Whether the answer has to be a call."""
        return bool(self.functions) and self.choice not in ("none", "auto")

    @property
    def callable_functions(self) -> list[Mapping[str, Any]]:
        """The functions that may be called, each with its `place`."""
        if self.choice == "none":
            return []
        placed = [{**each, "place": place} for each, place in zip(self.functions, self.places, strict=True)]
        return [each for each in placed if self.choice in ("auto", "required", each["name"])]

    def grammar_arguments(
        self, schema: Mapping[str, Any] | None, calls: tuple[int, int] | None, form: AnswerForm | None = None
    ) -> dict[str, Any] | None:
        """Arguments of `answer_grammar` for an answer with these tools; None when the answer is free.

        Args:
            schema: that an answer without calls has to follow; None: no schema.
            calls: ids of the tokens that open and close a call; None: the model has none.
            form: that an answer without calls has to have; None: no form.

        Raises:
            ArgumentError: a call is required of a model that has no tokens for calls.
        """
        functions = self.callable_functions
        if self.forced and calls is None:
            raise ArgumentError("tool_choice: the model has no tokens for calls")
        strict = not self.several or any(each.get("strict") for each in functions)
        free_text = schema is None and form is None and not self.forced
        if free_text and not (functions and strict and calls):
            return None
        if free_text:
            functions = [each if each.get("strict") else {**each, "parameters": None} for each in functions]
        return {
            "schema": None if self.forced else schema,
            "form": None if self.forced else form,
            "functions": functions,
            "calls": calls,
            "several": self.several and self.choice in ("auto", "required"),
            "text": free_text,
        }


def shown_tools(tools: Sequence[Mapping[str, Any]] | None) -> list[Mapping[str, Any]] | None:
    """Descriptions of tools for the model: without `strict`."""
    if tools is None:
        return None
    shown: list[Mapping[str, Any]] = []
    for tool in tools:
        function = {name: value for name, value in tool.get("function", tool).items() if name != "strict"}
        shown.append({**tool, "function": function} if "function" in tool else function)
    return shown


def tool_use(tools: Sequence[Mapping[str, Any]] | None, choice: object, parallel: bool | None) -> ToolUse:
    """Check `tool_choice` of a call from Python.

    Args:
        tools: descriptions as `tool_schemas` leaves them.
        choice: None, one of CHOICES, the name of a tool, or a mapping with the name as in OpenAI's requests.
        parallel: `parallel_tool_calls`.

    Raises:
        ArgumentError: any other choice, an unknown tool, or "required" without tools.
    """
    functions = tuple(tool.get("function", tool) for tool in tools or ())
    places = tuple(f"tools[{index}]{'.function' * ('function' in tool)}" for index, tool in enumerate(tools or ()))
    names = [each["name"] for each in functions]
    if isinstance(choice, Mapping):
        function = choice.get("function", choice)
        wanted = function.get("name") if isinstance(function, Mapping) else None
    else:
        wanted = None if choice is None or (isinstance(choice, str) and choice in CHOICES) else choice
    if (isinstance(choice, Mapping) or wanted is not None) and wanted not in names:
        known = ", ".join(map(repr, (*CHOICES, *names)))
        raise ArgumentError(f"tool_choice: expected one of {known}, found {shown(choice)}")
    if choice == "required" and not functions:
        raise ArgumentError("tool_choice: expected tools with 'required', found none")
    return ToolUse(functions, places, str(wanted or choice or "auto"), parallel is not False)
