"""The options of an answer: their names, aliases, checks and defaults."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from qwen3cpu.arguments import LOADING, check_flag, shown, unknown_name, whole_number
from qwen3cpu.checkpoint.config import GenerationDefaults
from qwen3cpu.engine.adapters import Adapter
from qwen3cpu.engine.batch import MOST_TOP
from qwen3cpu.engine.sampling import NON_THINKING, THINKING, SamplingParams
from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.constraints import given_form
from qwen3cpu.generation.healing import BESIDE_A_FORM
from qwen3cpu.generation.processors import Processor, checked_processors
from qwen3cpu.generation.tool_choice import ToolUse, shown_tools, tool_use
from qwen3cpu.text.schemas.reading import read_schema
from qwen3cpu.text.schemas.tools import with_checkable_parameters
from qwen3cpu.text.token_ids import check_ids
from qwen3cpu.text.tool_calls import argument_validators
from qwen3cpu.text.tool_schemas import Tool, tool_schemas

if TYPE_CHECKING:
    from qwen3cpu.generation.grammar import Grammar
    from qwen3cpu.text.schemas.checking import SchemaChecker


class Options(TypedDict, total=False):
    """Keyword arguments of generate, stream, generate_batch and chat. None means: not given.

    thinking: True renders messages (and a str that becomes one) for a model that thinks, False for one that does not.
        "auto", the default, follows the last /think or /no_think in the user and system text, and thinks if there is
        none. For raw text and token ids it only chooses the sampling defaults.
    thinking_budget: tokens of reasoning after which the closing sentence of Qwen3's authors is fed in and the answer
        follows; 0 means an empty think block. Without effect on a model that has no think tokens.
    deadline: seconds from the call until the answer has to be complete. The thinking is closed when the answer needs
        the rest of the time, at the speed measured so far. An answer that is not complete in time is cut off.
    loop_detection: True, the default, closes thinking that repeats the same tokens over and over, as a spent budget
        does, and ends an answer that does so. Answers to raw text or token ids, with a grammar or with ignore_eos are
        not ended. A loop in the thinking fills 512 tokens and comes four times; one in the answer fills 4096 tokens and
        comes eight times.
    tools: what the model may call: JSON schemas of functions, or Python functions, whose signature and docstring make
        the schema. Calls that do not follow it are text (`Result.malformed_calls`). `Model.run` also makes the calls.
    tool_choice: "auto", the default, lets the model call tools or not. "none" shows it no tools and forbids calls.
        "required" makes it call one. The name of a tool makes it call that tool. The last two need the extra [schema].
    parallel_tool_calls: False allows at most one call in an answer. Default: True. False needs the extra [schema].
    schema: a JSON schema (a dict) or a pydantic model that the answer has to follow; reasoning before it is free. An
        answer that a limit cuts off is not complete. `Result.unenforced` lists the parts of the schema that tokens are
        not held to, and `Result.schema_errors` what is wrong with the answer. Needs the extra [schema].
    regex: a regular expression (a string, in the syntax of Rust's regex) that matches the whole answer.
    choices: a list of strings; the answer is one of them.
    grammar: a grammar (a string) that the answer follows, in llguidance's form of Lark or in llama.cpp's form (GBNF),
        which is recognised by its `::=`. Only one of schema, regex, choices and grammar may be given. Reasoning before
        the answer is free, as with a schema. All four need the extra [schema].
    raw: feed a str prompt unchanged, not as a user message; spellings of control tokens in it become control tokens.
    token_healing: lets raw text end inside a word. As many of its last tokens as may be the beginning of one longer
        token are taken back, and the answer begins with tokens that spell the same bytes. `text` does not repeat these
        bytes; `token_ids`, `logprobs` and `usage` count their tokens as part of the answer.
    max_new_tokens: most tokens after the prompt, reasoning included; default: until the context is full.
    stop: one or several strings that end the answer (not the reasoning) and are not part of it.
    stop_token_ids: ids that end the answer, besides the model's own end tokens.
    ignore_eos: go on after the model's own end tokens, for measuring.
    logprobs: number of alternatives to report at each position; True or 0 reports the chosen tokens alone.

    `temperature`, `top_k`, `top_p`, `min_p`, `top_n_sigma`, `typical_p`, `xtc_probability`, `xtc_threshold`,
    `dry_multiplier`, `dry_base`, `dry_allowed_length`, `dry_penalty_last_n`, `dry_sequence_breakers`,
    `presence_penalty`, `frequency_penalty`, `repetition_penalty` and `logit_bias` are those of SamplingParams.
    Temperature 0 is greedy. Their defaults are those of generation_config.json, then the authors' recommendation for
    the mode. In the released models generation_config.json has the values for thinking, so thinking=False takes the
    authors' values for that mode instead.

    processors: functions f(ids, logits) that change the logits in place before each token is chosen. `ids` are those of
        prompt and answer so far; `logits` is float32 [vocab_size], a copy that belongs to this answer. Penalties,
        logit_bias, schema and filters come after them. An exception ends its own answer only: a call for one answer
        raises it, and among several answers it is in `Result.error`.
    seed: makes an answer repeatable; default: a new seed each time, reported in the result.
    do_sample: False is greedy.
    progress: show a bar while a long prompt is processed, and the number of finished answers of a batch, on a terminal
        or in a notebook; False shows none. Default: in a notebook only.
    adapter: the name of a loaded adapter that changes the model for this answer; default: no adapter.
    speculate: False checks no guessed tokens: each pass brings one token. The answer is the same. Default: True.

    Aliases: max_tokens (max_new_tokens), enable_thinking (thinking), stop_strings (stop), repeat_penalty
    (repetition_penalty), typ_p (typical_p), num_return_sequences (n), top_logprobs (logprobs).
    """

    thinking: bool | Literal["auto"] | None
    thinking_budget: int | None
    deadline: float | None
    loop_detection: bool | None
    tools: Sequence[Tool] | None
    tool_choice: str | Mapping[str, Any] | None
    parallel_tool_calls: bool | None
    schema: Mapping[str, Any] | type | None
    regex: str | None
    choices: Sequence[str] | None
    grammar: str | None
    raw: bool | None
    token_healing: bool | None
    max_new_tokens: int | None
    stop: str | Sequence[str] | None
    stop_token_ids: Sequence[int] | None
    ignore_eos: bool | None
    logprobs: int | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    top_n_sigma: float | None
    typical_p: float | None
    xtc_probability: float | None
    xtc_threshold: float | None
    dry_multiplier: float | None
    dry_base: float | None
    dry_allowed_length: int | None
    dry_penalty_last_n: int | None
    dry_sequence_breakers: Sequence[str] | None
    presence_penalty: float | None
    frequency_penalty: float | None
    repetition_penalty: float | None
    logit_bias: Mapping[int, float] | None
    processors: Sequence[Processor] | None
    seed: int | None
    do_sample: bool | None
    progress: bool | None
    adapter: str | None
    speculate: bool | None
    max_tokens: int | None
    enable_thinking: bool | Literal["auto"] | None
    stop_strings: str | Sequence[str] | None
    repeat_penalty: float | None
    typ_p: float | None
    top_logprobs: int | None


ALIASES = {
    "max_tokens": "max_new_tokens",
    "enable_thinking": "thinking",
    "stop_strings": "stop",
    "repeat_penalty": "repetition_penalty",
    "typ_p": "typical_p",
    "num_return_sequences": "n",
    "top_logprobs": "logprobs",
}
NAMES = (*(name for name in Options.__annotations__ if name not in ALIASES), "n")
MOST_ANSWERS = 1024
"""Most answers to one prompt: they all run together, and each holds memory."""
SAMPLING_NAMES = tuple(field.name for field in fields(SamplingParams))


@dataclass(frozen=True)
class Request:
    """Checked options of one call."""

    sampling: SamplingParams
    thinking: bool = True
    """Whether the model thinks: the option, with "auto" resolved."""
    thinking_budget: int | None = None
    deadline: float | None = None
    loop_detection: bool = True
    tools: Sequence[Mapping[str, Any]] | None = None
    call_schemas: Mapping[str, SchemaChecker] | None = None
    """Checkers for the arguments of calls, by name of the tool; None: arguments are free. Made from `tools`."""
    raw: bool = False
    token_healing: bool = False
    max_new_tokens: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: frozenset[int] = frozenset()
    ignore_eos: bool = False
    logprobs: int | None = None
    n: int | None = None
    """None when the caller did not ask for several answers."""
    progress: bool | None = None
    """None: in a notebook only."""
    grammar: Grammar | None = None
    """What the answer has to follow, made from `schema`, `regex`, `choices` or `grammar` (grammar.py)."""
    answer_loops: bool = False
    """Whether an answer that repeats itself is ended: `loop_detection`, if the prompt is rendered."""
    check_answer: bool = True
    """Whether the thread that finishes an answer also checks it against its schema. `generate` has no such option."""
    processors: tuple[Processor, ...] = ()
    speculate: bool = True
    """Whether drafts are made."""
    expected: tuple[Sequence[int], ...] = ()
    """Token ids of texts that look like the answer (expected_texts.py). `generate` has no such option."""
    adapter: Adapter | None = None
    """The adapter of this answer, which is found by its name at the call."""
    plain: bool = False
    """Whether all tokens become text, also in think blocks and tool calls. `generate` has no such option."""

    @property
    def top(self) -> int | None:
        """How many of the largest logits are needed; None: all, because others may be chosen or reported."""
        others = self.grammar or self.processors or self.token_healing or self.logprobs is not None
        looks_at = None if others else self.sampling.looks_at
        return looks_at if looks_at is not None and looks_at <= MOST_TOP else None


def make_request(
    options: Mapping[str, Any],
    defaults: GenerationDefaults,
    *,
    vocab_size: int,
    switch: bool | None = None,
    call_tokens: tuple[int, int] | None = None,
) -> Request:
    """Check the options of a call and fill in the defaults.

    Args:
        options: as in Options; `n` may be among them.
        defaults: the checkpoint's generation_config.json.
        vocab_size: ids must lie below it.
        switch: for "auto": True or False if the prompt switches thinking on or off, None if it does neither.
        call_tokens: ids of the tokens that open and close a call; None: the model has none.

    Raises:
        ArgumentError: an unknown name (the message has the nearest known one), a name together with its alias, or a
            value that is not allowed.
    """
    given = _canonical(options)
    budget = _whole(given, "thinking_budget", 0)
    thinking = _thinking(given, switch) and budget != 0
    described = tool_schemas(given.get("tools"))
    use = tool_use(described, given.get("tool_choice"), _flag(given, "parallel_tool_calls", True))
    tools = None if use.choice == "none" else shown_tools(described)
    if use.choice == "none" and call_tokens is not None:
        given["logit_bias"] = {**(given.get("logit_bias") or {}), call_tokens[0]: -math.inf}
    grammar = _grammar(given, use, call_tokens, thinking)
    healing = _flag(given, "token_healing", False)
    if healing and grammar is not None:
        raise ArgumentError(BESIDE_A_FORM)
    logprobs = given.get("logprobs")
    if isinstance(logprobs, bool):
        given["logprobs"] = 0 if logprobs else None
    return Request(
        sampling=sampling_params(given, defaults, thinking),
        thinking=thinking,
        thinking_budget=budget,
        deadline=_seconds(given, "deadline"),
        loop_detection=_flag(given, "loop_detection", True),
        tools=tools,
        call_schemas=argument_validators(with_checkable_parameters(tools)),
        grammar=grammar,
        raw=_flag(given, "raw", False),
        token_healing=healing,
        max_new_tokens=_whole(given, "max_new_tokens", 1),
        stop=_stop_strings(given.get("stop")),
        stop_token_ids=frozenset(check_ids(given.get("stop_token_ids", ()), vocab_size, "stop_token_ids")),
        ignore_eos=_flag(given, "ignore_eos", False),
        logprobs=_whole(given, "logprobs", 0, vocab_size),
        n=_whole(given, "n", 1, MOST_ANSWERS),
        progress=_flag(given, "progress", None),
        speculate=_flag(given, "speculate", True),
        processors=checked_processors(given.get("processors")),
    )


def sampling_params(given: Mapping[str, Any], defaults: GenerationDefaults, thinking: bool) -> SamplingParams:
    """Sampling of a call: the caller's values, then generation_config.json, then the authors' values for the mode."""
    preset = THINKING if thinking else NON_THINKING
    values = {name: getattr(preset, name) for name in SAMPLING_NAMES}
    # The released generation_config.json is written for thinking; only a file with other values is for both modes.
    if thinking or any(getattr(defaults, name) != getattr(THINKING, name) for name in ("temperature", "top_p")):
        for name in SAMPLING_NAMES:
            value = getattr(defaults, name, None)
            if value is not None:
                values[name] = value
    do_sample = _flag(given, "do_sample", None)
    if do_sample is False and given.get("temperature"):
        raise ArgumentError(f"do_sample=False is greedy and contradicts temperature={given['temperature']!r}")
    if do_sample is True and given.get("temperature") == 0:
        raise ArgumentError("do_sample=True contradicts temperature=0, which is greedy")
    if do_sample is False or (do_sample is None and defaults.do_sample is False):
        values["temperature"] = 0.0
    values.update({name: given[name] for name in SAMPLING_NAMES if given.get(name) is not None})
    return SamplingParams(**values)


def _grammar(
    given: Mapping[str, Any], use: ToolUse, call_tokens: tuple[int, int] | None, thinking: bool
) -> Grammar | None:
    schema = given.get("schema")
    form = given_form(given, schema)
    arguments = use.grammar_arguments(None if schema is None else read_schema(schema), call_tokens, form)
    if arguments is None:
        return None
    from qwen3cpu.generation.grammar import answer_grammar

    return answer_grammar(**arguments, after_thinking=thinking)


def _canonical(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options under their own names, without those that are None."""
    given: dict[str, Any] = {}
    for name, value in options.items():
        own = ALIASES.get(name, name)
        if own not in NAMES:
            hint = unknown_name(name, (*NAMES, *ALIASES), {"qwen3cpu.load": LOADING})
            raise ArgumentError(f"unknown option {name!r}; {hint}")
        if value is None:
            continue
        if own in given:
            raise ArgumentError(f"{own!r} was given twice: it is the same as {name!r}")
        given[own] = value
    return given


def _thinking(given: Mapping[str, Any], switch: bool | None) -> bool:
    value = given.get("thinking", "auto")
    if isinstance(value, str) and value == "auto":
        return switch is not False
    if not isinstance(value, bool):
        raise ArgumentError(f'thinking: expected True, False or "auto", found {shown(value)}')
    return value


def _seconds(given: Mapping[str, Any], name: str) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    try:
        seconds = math.nan if isinstance(value, bool) or not isinstance(value, numbers.Real) else float(value)
    except OverflowError:  # an int of hundreds of digits
        seconds = math.inf
    if not 0 < seconds < math.inf:
        raise ArgumentError(f"{name}: expected a number of seconds above 0, found {shown(value)}")
    return seconds


def _flag(given: Mapping[str, Any], name: str, default: Any) -> Any:
    value = given.get(name, default)
    if value is not default:
        check_flag(name, value)
    return value


def _whole(given: Mapping[str, Any], name: str, least: int, most: int | None = None) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    return whole_number(name, value, least, most)


def _stop_strings(stop: Any) -> tuple[str, ...]:
    if stop is None:
        return ()
    strings = (stop,) if isinstance(stop, str) else stop
    if not isinstance(strings, (list, tuple, set, frozenset)) or not all(isinstance(item, str) for item in strings):
        raise ArgumentError(f"stop: expected a string or a list of strings, found {shown(stop)}")
    if "" in strings:
        raise ArgumentError("stop: an empty string would end every answer before it begins")
    return tuple(strings)
