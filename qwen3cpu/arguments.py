"""Checks of arguments that many calls share. Each raises an ArgumentError that names argument, expected and found.

The names that other libraries use for the same arguments are here too, so that an error can give qwen3cpu's name.
"""

from __future__ import annotations

import functools
import inspect
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, ParamSpec, TypeVar

from qwen3cpu.errors import ArgumentError

P = ParamSpec("P")
R = TypeVar("R")

LOADING: Final = (
    "source",
    "quant",
    "kv",
    "context",
    "threads",
    "cache",
    "progress",
    "rope_scaling",
    "prefix_cache",
    "task",
    "adapters",
    "draft",
    "drafts_from",
    "activations",
)
"""Arguments of `qwen3cpu.load`. A test compares them with its signature."""

_OTHERS: Final = {
    "source": "model model_path model_id model_name repo_id path pretrained pretrained_model_name_or_path hf_repo",
    "quant": "dtype torch_dtype quantization quantization_config quantize load_in_4bit load_in_8bit compute_type",
    "kv": "type_k type_v cache_type cache_type_k cache_type_v kv_cache_dtype kv_cache_type kv_dtype",
    "context": "n_ctx num_ctx ctx ctx_size context_size context_length max_model_len max_seq_len max_seq_length "
    "max_context n_positions",
    "threads": "n_threads num_threads num_thread n_threads_batch threads_batch nthreads",
    "adapters": "lora lora_path lora_scaled lora_modules adapter_path",
    "draft": "draft_model model_draft assistant_model speculative_model",
    "drafts_from": "lookup_cache lookup_cache_static lookup_cache_dynamic",
    "adapter": "lora_request",
    "max_new_tokens": "max_length max_completion_tokens max_output_tokens n_predict num_predict n_tokens predict",
    "temperature": "temp",
    "thinking": "think reasoning reasoning_effort thinking_mode",
    "thinking_budget": "reasoning_budget thinking_budget_tokens thinking_token_budget budget_tokens",
    "repetition_penalty": "rep_penalty penalty_repeat",
    "frequency_penalty": "freq_penalty penalty_freq",
    "presence_penalty": "pres_penalty penalty_present",
    "typical_p": "typical",
    "deadline": "timeout max_time time_limit",
    "stop": "stop_sequences stop_words stop_sequence stopping_criteria antiprompt reverse_prompt",
    "stop_token_ids": "eos_token_id eos_token_ids",
    "seed": "random_seed random_state manual_seed rng_seed",
    "schema": "response_format response_model response_schema json_schema guided_json output_schema format",
    "regex": "guided_regex",
    "choices": "guided_choice",
    "grammar": "guided_grammar grammar_file",
    "tools": "functions",
    "tool_choice": "function_call",
    "processors": "logits_processor logits_processors",
}
OTHER_NAMES: Final = {other: own for own, others in _OTHERS.items() for other in others.split()}
"""Names of arguments in other libraries (llama.cpp, Ollama, transformers, vLLM, OpenAI) -> qwen3cpu's names."""

_NEEDLESS: Final = {
    "qwen3cpu computes on CPUs only, so leave it out": "n_gpu_layers gpu_layers num_gpu ngl device device_map main_gpu "
    "tensor_split split_mode tensor_parallel_size gpu_memory_utilization",
    "converted weights are always mapped from their file, so leave it out": "use_mmap mmap no_mmap use_mlock mlock "
    "low_cpu_mem_usage",
    "prompts are split into pieces automatically, and answers do not depend on it, so leave it out": "n_batch "
    "batch_size n_ubatch ubatch_size num_batch",
    "there is only one implementation of attention, so leave it out": "flash_attn attn_implementation flash_attention",
    "code in a checkpoint is never run, so leave it out": "trust_remote_code",
    "model.stream gives an answer piece by piece": "stream streamer",
    "there is no beam search; n=... samples several answers": "num_beams",
}
NEEDLESS: Final = {name: reason for reason, names in _NEEDLESS.items() for name in names.split()}
"""Arguments of other libraries that have no use here, and why."""

_MOST_SHOWN: Final = 80  # characters


def shown(value: object) -> str:
    """Spell a value for an error message; a long one is cut."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"  # Python refuses to write thousands of digits
    if isinstance(value, (str, bytes)) and len(value) > _MOST_SHOWN:
        value = value[:_MOST_SHOWN]
    try:
        text = repr(value)
    except Exception:  # of the caller's class
        return f"a {type(value).__name__}"
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."


def as_whole(value: Any) -> int | None:
    """Return an int or a NumPy integer as int; None for floats, True, False and everything else."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def whole_number(name: str, value: Any, least: int, most: int | None = None, what: str = "a whole number") -> int:
    """Return `value` as int. Raises ArgumentError unless it is a whole number from `least` to `most`.

    Args:
        name: of the argument, for the message.
        value: an int or a NumPy integer; True and False are refused.
        least: the smallest allowed.
        most: the largest allowed; None: no limit.
        what: what the number counts, for the message.
    """
    number = as_whole(value)
    if number is None or number < least or (most is not None and number > most):
        expected = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ArgumentError(f"{name}: expected {what} {expected}, found {shown(value)}")
    return number


def is_iterable(value: object) -> bool:
    """Whether a loop can run over a value. An array without dimensions has `__iter__`, which raises TypeError."""
    try:
        iter(value)  # type: ignore[call-overload]
    except TypeError:
        return False
    return True


def check_flag(name: str, value: object) -> None:
    """Raise ArgumentError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ArgumentError(f"{name}: expected True or False, found {shown(value)}")


def check_choice(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Raise ArgumentError unless `value` is one of `allowed`; the message has the nearest one."""
    if not isinstance(value, str) or value not in allowed:  # an array has no truth value
        raise ArgumentError(f"{name}: {not_a_choice(value, allowed)}")


def not_a_choice(value: Any, allowed: Sequence[str]) -> str:
    """The message for a value that is not one of `allowed`."""
    near = did_you_mean(value if isinstance(value, str) else shown(value), allowed, by_bits=True)
    return f"expected one of {', '.join(allowed)}, found {shown(value)}{near}"


def did_you_mean(found: str, known: Collection[str], *, by_bits: bool = False) -> str:
    """The end of a message: the nearest known name, if one is near, else "". by_bits: see `nearest`."""
    near = nearest(found, known, by_bits=by_bits)
    return "" if near is None else f"; did you mean {near!r}?"


def nearest(found: str, known: Collection[str], *, least: float = 0.6, by_bits: bool = False) -> str | None:
    """Return the known name that is most likely meant: equal except for case, beginning with `found`, or spelt alike.

    Args:
        found: the name.
        known: the existing names.
        least: how similar two spellings have to be, from 0 to 1.
        by_bits: names may be formats. Then the format with as many bits is near too, or else the next one with more:
            "q4" for "int4", "q8" for "Q5_K_M".
    """
    lowered = {each.lower(): each for each in known}
    text = found.strip().lower()[:100]
    if text in lowered:
        return lowered[text]
    if len(text) >= 3 and (longer := [each for each in lowered if each.startswith(text)]):
        return lowered[longer[0]]
    import difflib  # for messages only: it would take half a millisecond of every start

    near = difflib.get_close_matches(text, lowered, n=1, cutoff=least)
    if near:
        return lowered[near[0]]
    bits = _bits(text) if by_bits else None
    if bits is None:
        return None
    wide_enough = {name: own for name in known if (own := _bits(name)) is not None and own >= bits}
    return min(wide_enough, key=lambda name: (wide_enough[name], len(name)), default=None)


def _bits(name: str) -> int | None:
    """Bits of a weight in a format: 4 for "q4", "Q4_K_M", "int4" and "4bit", 16 for "bf16". None: not a format."""
    match = re.match(r"[a-z_]{0,9}([1-9]\d?)(?!\d)", name.lower())
    return None if match is None or int(match[1]) > 64 else int(match[1])


def unknown_name(name: str, known: Collection[str], elsewhere: Mapping[str, Collection[str]]) -> str:
    """The hint for an argument that a function does not have.

    Args:
        name: of the argument.
        known: the function's arguments.
        elsewhere: other functions -> their arguments.
    """
    own = OTHER_NAMES.get(name, name)
    if own in known:
        return f"it is called {own!r} here"
    for function, names in elsewhere.items():
        if own in names:
            return f"{own!r} is an argument of {function}"
    if name in NEEDLESS:
        return NEEDLESS[name]
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else f"known are {', '.join(sorted(known))}"


def named_arguments(elsewhere: Mapping[str, Collection[str]]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function raise ArgumentError for unknown keyword arguments, with a hint at what may have been meant.

    elsewhere: other functions -> their arguments.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        known = tuple(inspect.signature(function).parameters)

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name not in known:
                    hint = unknown_name(name, known, elsewhere)
                    raise ArgumentError(f"{function.__name__}: unknown argument {name!r}; {hint}")
            return function(*args, **kwargs)

        return checked

    return decorate
