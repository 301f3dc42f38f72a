"""Fields of other servers. Fields with a meaning here get this server's names, and the rest is ignored and named.

`FIELDS` is the table; docs/serving.md shows it, and a test compares both with OpenAI's client.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.json_words import kind_of, shown

Endpoint = Literal["chat", "completions", "responses"]
Json = dict[str, Any]

RENAMED = {
    "repeat_penalty": "repetition_penalty",
    "typ_p": "typical_p",
    "n_predict": "max_tokens",
    "num_predict": "max_tokens",
    "max_new_tokens": "max_tokens",
    "reasoning_budget": "thinking_budget",
    "thinking_budget_tokens": "thinking_budget",
    "thinking_token_budget": "thinking_budget",
    "guided_regex": "regex",
    "guided_choice": "choices",
    "guided_grammar": "grammar",
}
"""Name of a field in other servers -> its name here, in every body."""
FORMS = {"regex": "regex", "choice": "choices", "grammar": "grammar"}
"""Field of vLLM's `structured_outputs` -> its name here."""
UNSET = {
    "seed": (-1,),
    "thinking_budget": (-1,),
    "top_n_sigma": (-1, -1.0),
    "max_completion_tokens": (-1, -2),
    "max_output_tokens": (-1, -2),
    "grammar": ("",),
    "regex": ("",),
}
"""Values that mean "not given" for other servers."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "add_generation_prompt": (True,),
    "use_beam_search": (False,),
    "include_reasoning": (True,),
    "separate_reasoning": (True,),
    "stream_reasoning": (True,),
    "best_of": (1,),
    "min_tokens": (0,),
    "length_penalty": (1, 1.0),
    "tfs_z": (1, 1.0),
    "mirostat": (0,),
    "cache_prompt": (True,),
    "echo": (False,),
    "raw": (False,),
    "suffix": ("",),
}
"""Values that ask for the default behaviour. Other values of these fields are ignored and named."""
REFUSED = {
    "structural_tag": "tools",
    "chat_template": "the template of the checkpoint",
    "suffix": "a prompt",
    "add_generation_prompt": "true, or continue_final_message",
    "prompt_embeds": "a prompt",
    "input_prefix": "a prompt",
    "input_suffix": "a prompt",
}
"""Fields that cannot be ignored, because the answer would be useless -> what the error message expects instead."""

_EXPECTED_SCHEMA = 'expected "json" or a JSON schema'


class Translated(NamedTuple):
    """A body under the names of this server.

    body: its fields that have a meaning. ignored: fields that are ignored. places: places in `body`, as errors name
    them -> places in the client's request, where the two differ.
    """

    body: Json
    ignored: list[str]
    places: dict[str, str]


def translate(given: Mapping[str, Any], endpoint: Endpoint, known: frozenset[str]) -> Translated:
    """The body under the names of this server.

    Args:
        given: the JSON object of a request.
        endpoint: the endpoint of the body.
        known: the fields of the body here.

    Raises:
        ApiError: a field that cannot be ignored.
    """
    body = {name: value for name, value in given.items() if value is not None}
    ignored = ["calls_as_function"] if body.pop("calls_as_function", None) is not None else []
    places: dict[str, str] = {}
    _take_options(body, ignored, places, known)
    for name, own in RENAMED.items():
        own = _own_limit(own, endpoint)
        if name in body and name not in known:
            value = body.pop(name)
            if own not in body:
                body[own] = value
                places[own] = places.pop(name, name)
    for name, unset in UNSET.items():
        if is_one_of(body.get(name), unset):
            del body[name]
    if is_one_of(body.get("max_tokens"), (-1, -2)) and endpoint == "chat":
        del body["max_tokens"]
    if is_one_of(body.get("top_k"), (-1,)):
        body["top_k"] = 0
    if endpoint != "completions":
        _take_thinking(body, ignored, places, endpoint)
    _take_schema(body, ignored, places, endpoint)
    if body.get("continue_final_message") is True:
        body.pop("add_generation_prompt", None)
    if isinstance(body.get("logit_bias"), list):
        body["logit_bias"] = _bias(body["logit_bias"])
    if endpoint == "chat":
        _take_functions(body)
    _take_tool_choice(body, ignored, places, endpoint)
    for name in [name for name in body if name not in known]:
        value = body.pop(name)
        if is_one_of(value, NEUTRAL.get(name, ())):
            continue
        if name in REFUSED or (endpoint, name) == ("responses", "prompt"):
            expected = REFUSED.get(name, "input")
            raise ApiError(400, f"{name}: not supported; expected {expected}", code="unsupported_parameter", param=name)
        ignored.append(name)
    return Translated(body, ignored, places)


def _own_limit(own: str, endpoint: Endpoint) -> str:
    return "max_output_tokens" if own == "max_tokens" and endpoint == "responses" else own


def is_one_of(value: Any, values: tuple[Any, ...]) -> bool:
    """Whether a value is one of these. True is not equal to 1."""
    return any(type(value) is type(each) and value == each for each in values)


def _take_options(body: Json, ignored: list[str], places: dict[str, str], known: frozenset[str]) -> None:
    """Move the fields of Ollama's `options` to the top level."""
    options = body.pop("options", None)
    if options is None:
        return
    if not isinstance(options, dict):
        raise ApiError(400, f"options: expected an object, found {kind_of(options)}", param="options")
    for name, value in options.items():
        if value is None:
            continue
        if name in known or name in RENAMED:
            if name not in body:
                body[name] = value
                places[name] = f"options.{name}"
        else:
            ignored.append(f"options.{name}")


def _take_thinking(body: Json, ignored: list[str], places: dict[str, str], endpoint: Endpoint) -> None:
    """Convert `think` of Ollama, `thinking` of Anthropic, `reasoning` of OpenRouter, and `enable_thinking`."""
    wanted: Any = None
    effort: Any = None
    for name in ("enable_thinking", "think", "thinking"):
        value = body.get(name)
        if value is None:
            continue
        del body[name]
        if isinstance(value, dict) and name == "thinking":
            kind = value.get("type", "enabled")
            if kind not in ("enabled", "disabled", "adaptive", "auto", "between_tools"):
                expected = "expected enabled, disabled or adaptive"
                raise ApiError(400, f"thinking.type: {expected}, found {shown(kind)}", param="thinking.type")
            if kind in ("enabled", "disabled"):
                wanted = kind == "enabled"
            if value.get("budget_tokens") is not None and "thinking_budget" not in body:
                body["thinking_budget"] = value["budget_tokens"]
                places["thinking_budget"] = "thinking.budget_tokens"
            ignored += [f"thinking.{key}" for key in value if key not in ("type", "budget_tokens")]
        elif isinstance(value, bool):
            wanted = value
        elif isinstance(value, str) and name != "enable_thinking":
            effort = value
            places["reasoning_effort" if endpoint == "chat" else "reasoning.effort"] = name
        else:
            words = "" if name == "enable_thinking" else ", or a word for the effort such as none, low or high"
            raise ApiError(400, f"{name}: expected true or false{words}, found {shown(value)}", param=name)
    if endpoint == "chat":
        reasoning = body.pop("reasoning", None)
        if isinstance(reasoning, dict):
            if "effort" in reasoning:
                effort = reasoning["effort"]
                places["reasoning_effort"] = "reasoning.effort"
            if isinstance(reasoning.get("enabled"), bool):
                wanted = reasoning["enabled"]
            if reasoning.get("max_tokens") is not None:
                body.setdefault("thinking_budget", reasoning["max_tokens"])
            ignored += [f"reasoning.{key}" for key in reasoning if key not in ("effort", "enabled", "max_tokens")]
        elif reasoning is not None:
            raise ApiError(400, f"reasoning: expected an object, found {shown(reasoning)}", param="reasoning")
        if effort is not None and "reasoning_effort" not in body:
            body["reasoning_effort"] = effort
        else:
            places.pop("reasoning_effort", None)
    elif effort is not None and "reasoning" not in body:
        body["reasoning"] = {"effort": effort}
    else:
        places.pop("reasoning.effort", None)
    template = body.get("chat_template_kwargs", {})
    if wanted is not None and isinstance(template, dict):
        body["chat_template_kwargs"] = {"enable_thinking": wanted, **template}


def _take_schema(body: Json, ignored: list[str], places: dict[str, str], endpoint: Endpoint) -> None:
    """Convert the fields in which vLLM, llama.cpp and Ollama take a JSON schema."""
    found: list[tuple[str, Any]] = []
    for name in ("guided_json", "json_schema", "format"):
        if body.get(name) not in (None, "", False):
            found.append((name, body[name]))
        body.pop(name, None)
    structured = body.pop("structured_outputs", None)
    if isinstance(structured, dict):
        for name, value in structured.items():
            where = f"structured_outputs.{name}"
            if (name == "json" and value is not None) or (name == "json_object" and value is True):
                found.append((where, value))
            elif name in FORMS and value is not None:
                body.setdefault(FORMS[name], value)
                places[FORMS[name]] = where
            elif name == "structural_tag" and value is not None:
                raise ApiError(400, f"{where}: not supported; expected json", code="unsupported_parameter", param=where)
            elif value is not None and value is not False:
                ignored.append(f"structured_outputs.{name}")
    wanted = body.get("response_format")
    if isinstance(wanted, dict) and "schema" in wanted:
        found.append(("response_format.schema", wanted["schema"]))
        body["response_format"] = {"type": "json_object"}
    if not found:
        return
    where, value = found[0]
    if isinstance(value, str):
        value = _read_schema(value, where)
    if value is True or value == "json":
        kind: Json = {"type": "json_object"}
    elif isinstance(value, dict):
        kind = {"type": "json_schema", "json_schema": {"name": "answer", "schema": value}}
    else:
        raise ApiError(400, f"{where}: {_EXPECTED_SCHEMA}, found {shown(value)}", param=where)
    if endpoint != "responses":
        body["response_format"] = kind
        places["response_format.json_schema.schema"] = where
    else:
        schema = kind.pop("json_schema", {})
        body["text"] = {"format": {**kind, **schema}}
        places["text.format.schema"] = where


def _read_schema(text: str, where: str) -> Any:
    if text == "json":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ApiError(400, f"{where}: {_EXPECTED_SCHEMA}, found {shown(text)}", param=where) from None


def _take_functions(body: Json) -> None:
    """Convert OpenAI's older fields `functions` and `function_call` to tools."""
    functions, choice = body.pop("functions", None), body.pop("function_call", None)
    if functions is not None and "tools" not in body:
        if not isinstance(functions, list):
            raise ApiError(400, f"functions: expected a list, found {shown(functions)}", param="functions")
        body["tools"] = [{"type": "function", "function": each} for each in functions]
        body["calls_as_function"] = True
        if isinstance(choice, dict):
            choice = {"type": "function", "function": choice}
        if choice is not None:
            body.setdefault("tool_choice", choice)


def _take_tool_choice(body: Json, ignored: list[str], places: dict[str, str], endpoint: Endpoint) -> None:
    """Convert `tool_choice` of Mistral and `allowed_tools` of OpenAI, and drop tools that are not functions."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    if choice == "any":
        body["tool_choice"] = "required"
    if not isinstance(tools, list):
        return
    left = dict(enumerate(tools))
    if endpoint == "responses" and any(_is_function(tool) for tool in tools):
        left = {place: tool for place, tool in left.items() if not isinstance(tool, dict) or _is_function(tool)}
        ignored += [f"tools[{place}]" for place in range(len(tools)) if place not in left]
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools", choice)
        names = _tool_names(allowed.get("tools")) if isinstance(allowed, dict) else []
        missing = [name for name in names if name not in _tool_names(list(left.values()))]
        if not names or missing:
            found = f"{shown(missing[0])}, which is none of the tools" if missing else "none"
            param = "tool_choice.allowed_tools"
            raise ApiError(400, f"{param}: expected names of the tools, found {found}", param=param)
        left = {place: tool for place, tool in left.items() if set(_tool_names([tool])) & set(names)}
        body["tool_choice"] = allowed.get("mode", "auto")
    body["tools"] = list(left.values())
    for index, place in enumerate(left):
        if "calls_as_function" in body:
            places["tools"] = "functions"
            places[f"tools[{index}].function"] = places[f"tools[{index}]"] = f"functions[{place}]"
        elif endpoint == "responses":
            places[f"tools[{index}].function"] = places[f"tools[{index}]"] = f"tools[{place}]"
        elif index != place:
            places[f"tools[{index}]"] = f"tools[{place}]"


def _is_function(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("type", "function") == "function"


def _tool_names(tools: Any) -> list[str]:
    """Names of tools in the forms of chat completions and of responses."""
    names = []
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            names.append(function["name"])
    return names


def _bias(pairs: list[Any]) -> Json:
    """Convert llama.cpp's list of [id, bias], where a bias of false forbids a token."""
    bias: Json = {}
    for place, pair in enumerate(pairs):
        if not (isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is int):
            raise ApiError(
                400, f"logit_bias[{place}]: expected [token id, bias], found {shown(pair)}", param="logit_bias"
            )
        bias[str(pair[0])] = float("-inf") if pair[1] is False else pair[1]
    return bias
