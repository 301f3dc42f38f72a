"""Makes answers follow a grammar (a JSON schema, tool calls): tokens that it forbids are masked before one is chosen.

llguidance (extra `[schema]`) computes the masks. This file makes the grammars, and applies them outside of think blocks
only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.errors import ArgumentError
from qwen3cpu.system.fork_guard import ForkLock
from qwen3cpu.system.library_calls import LibraryCalls
from qwen3cpu.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

MAX_DEPTH = 64
"""Levels of nesting in a schema."""
WHITESPACE = r"( |\n {0,24})?"
"""White space allowed between the tokens of JSON: a space, or a line break with an indent. A weak model writes endless
white space if it may."""


MOST_CALLS = 16
"""Calls in one answer that has to consist of calls; a weak model would go on for ever."""


def json_schema(schema: Any) -> dict[str, Any]:
    """The JSON schema that a caller gave: a mapping, or a pydantic model (the class).

    Raises:
        ArgumentError: neither, or not JSON.
    """
    if isinstance(schema, type) and callable(getattr(schema, "model_json_schema", None)):
        schema = schema.model_json_schema()  # type: ignore[attr-defined]
    if not isinstance(schema, Mapping):
        found = schema.__name__ if isinstance(schema, type) else type(schema).__name__
        raise ArgumentError(f"schema: expected a JSON schema (a dict) or a pydantic model, found {found}")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(schema, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"schema: expected what JSON can express: {error}") from None
    if _depth(plain) > MAX_DEPTH:
        raise ArgumentError(f"schema: expected at most {MAX_DEPTH} levels of nesting, found more")
    return plain


def answer_grammar(
    schema: Mapping[str, Any] | None,
    functions: Sequence[Mapping[str, Any]] = (),
    *,
    calls: tuple[int, int] | None = None,
    several: bool = True,
    text: bool = False,
    after_thinking: bool,
) -> str:
    """The grammar of an answer, in the Lark dialect of llguidance.

    Args:
        schema: of an answer in JSON; None: there may be none.
        functions: {"name": ..., "parameters": schema} of what may be called instead.
        calls: ids of the tokens that open and close a call.
        several: whether several calls may follow each other.
        text: free text may come before the calls, or in place of them.
        after_thinking: a think block may come before; the line breaks after it are allowed then.
    """
    rules = [f"answer: %json {_dumps(schema)}"] if schema is not None else []
    kinds = ["answer"] if schema is not None else []
    if functions and calls is not None:
        kinds.append("TEXT? calls?" if text else "calls")
        rules.append(f'call: <[{calls[0]}]> "\\n" body "\\n" <[{calls[1]}]>')
        rules.append(f'calls: call ("\\n" call){{0,{MOST_CALLS - 1}}}' if several else "calls: call")
        rules.append("body: " + " | ".join(f"function_{place}" for place in range(len(functions))))
        rules += [r"TEXT: /(.|\n)+/"] if text else []
        rules += [f"function_{i}: %json {_dumps(_call_schema(each), ' ?')}" for i, each in enumerate(functions)]
    start = f"({' | '.join(kinds)})"
    if after_thinking:
        rules.append(r"BREAKS: /\n{1,2}/")
        start = f"BREAKS? {start}"
    return "\n".join([f"start: {start}", *rules, ""])


class Grammars:
    """What the grammars of one model's answers share. May be used from several threads.

    Args:
        tokenizer: the model's.
        eos_token_ids: what may come when an answer is complete.
    """

    def __init__(self, tokenizer: Tokenizer, eos_token_ids: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._eos = eos_token_ids
        self._lock = ForkLock()
        self._vocabulary: LLTokenizer | None = None
        self._process = os.getpid()

    def matcher(self, grammar: str) -> LLMatcher:
        """The state of one answer at its beginning.

        Raises:
            ArgumentError: the grammar asks for what cannot be done, or llguidance is missing.
            EngineError: this process was forked while another thread read the vocabulary.
        """
        vocabulary = self._load()
        from llguidance import LLMatcher

        with LIBRARY:
            failed, messages = LLMatcher.validate_grammar_with_warnings(grammar, vocabulary)
            if not failed:
                matcher = LLMatcher(vocabulary, grammar, log_level=0)
                if not matcher.is_error():
                    return matcher
                messages = [matcher.get_error()]
        raise ArgumentError(f"schema: {'; '.join(messages)[:500]}")

    def _load(self) -> LLTokenizer:
        with self._lock:
            if LIBRARY.lost and self._process != os.getpid():
                _kept.append(self._vocabulary)
                self._vocabulary = None
            self._process = os.getpid()
            if self._vocabulary is None:
                try:
                    from llguidance import LLTokenizer, TokenizerWrapper
                except ImportError:
                    raise ArgumentError("a schema needs llguidance: pip install 'qwen3cpu[schema]'") from None
                eos = sorted(token for token in self._eos if token < self._tokenizer.size)
                wrapper = TokenizerWrapper(_Vocabulary(self._tokenizer, eos[0] if eos else 0))
                self._vocabulary = LLTokenizer(wrapper, eos_token=eos or None)
            return self._vocabulary


LIBRARY = LibraryCalls()
"""Around calls of llguidance."""
_kept: list[object] = []
"""Vocabularies that another thread used when the process forked: even to free them would wait for their locks."""


class Constraint:
    """Which tokens may come next in one answer.

    Args:
        matcher: at its beginning.
        think: the token that may open a think block before anything else; None: no think block.
    """

    def __init__(self, matcher: LLMatcher, think: int | None) -> None:
        self._matcher = matcher
        self._think = think

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits [vocab_size], with -inf for what may not come next. To be asked outside of think blocks.

        Raises:
            ArgumentError: the schema has become too much for its limits.
        """
        with LIBRARY:
            bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        if self._matcher.is_error():
            raise ArgumentError(f"schema: {self._matcher.get_error()[:500]}")
        allowed = np.unpackbits(bits, count=min(8 * len(bits), len(logits)), bitorder="little").astype(bool)
        masked = np.full_like(logits, -np.inf)
        np.copyto(masked[: len(allowed)], logits[: len(allowed)], where=allowed)
        if self._think is not None:
            masked[self._think] = logits[self._think]
        return masked

    def thinks(self) -> None:
        """A think block has been opened: there is no second one."""
        self._think = None

    def push(self, token: int) -> None:
        """Note a token outside of think blocks."""
        self._think = None
        with LIBRARY:
            self._matcher.consume_token(token)


class _Vocabulary:
    """A tokenizer as llguidance wants to see it."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, eos: int) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = eos
        self.tokens = [tokenizer.token_bytes(token) for token in range(tokenizer.size)]
        self.special_token_ids = sorted(tokenizer.control_tokens.values())

    def __call__(self, text: str | bytes) -> list[int]:
        return self._tokenizer.encode(text.decode() if isinstance(text, bytes) else text)


def _call_schema(function: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "name": {"const": function["name"]},
            "arguments": function.get("parameters") or {"type": "object"},
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _dumps(schema: Mapping[str, Any], whitespace: str = WHITESPACE) -> str:
    return json.dumps({**schema, "x-guidance": {"whitespace_pattern": whitespace}})


def _depth(value: Any) -> int:
    """Levels of nesting; json.loads has bounded them already, so this may recurse."""
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
