"""Makes answers follow a grammar (of JSON, a form, calls): forbidden tokens are masked before one is chosen.

llguidance (extra `[schema]`) computes the masks. This file makes the grammars, which apply outside of think blocks
only.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.llguidance_calls import LIBRARY, problem_text
from qwen3cpu.generation.token_masks import Constraint, LineBreaks
from qwen3cpu.system.fork_guard import ForkLock
from qwen3cpu.text.memo import Memo, bytes_of, remembered
from qwen3cpu.text.schemas.checking import SchemaChecker
from qwen3cpu.text.schemas.keywords import MOST_MULTIPLES
from qwen3cpu.text.schemas.reading import SchemaError
from qwen3cpu.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

    from qwen3cpu.generation.constraints import AnswerForm
    from qwen3cpu.generation.schemas.narrowing import Narrowed

WHITESPACE = r"( |\n {0,24})?"
"""White space allowed between the tokens of JSON: a space, or a line break with an indent. Without a limit a weak model
writes white space endlessly."""


MOST_CALLS = 16
"""Most calls in one answer that has to consist of calls; a weak model would never stop."""
COMPILED_BYTES: Final = 64 << 20
"""Most bytes of compiled grammars that are kept, as _compiled_bytes estimates them: 64 grammars of usual size."""
NARROWED_BYTES: Final = 4 << 20
"""Most bytes of narrowed schemas that are kept."""
MOST_STATES = 60_000
"""Most states of the automata of one answer, 1 to 2 KB each."""
MOST_ITEMS = 200_000
"""Most items of the parser in one step, about 10 ms; an object with n optional properties may take n squared."""
MOST_FORM_ITEMS = 50_000
"""The same for grammars of users: an ambiguous one can take ten times as long for an item."""
STACK = 128 << 20
"""Bytes of stack for compiling; schemas/narrowing.py allows 12,000 levels of about 5 KB each."""
MOST_SYMBOLS = 300_000
"""Greatest size of a grammar."""
_stack_size: Final = ForkLock()
"""Held while new threads of the process get another stack."""


@dataclass(eq=False)
class Grammar:
    """What an answer has to follow.

    Attributes:
        text: in the Lark dialect of llguidance, or several grammars that refer to each other, as JSON.
        schema: of answers in JSON; None: answers are not in JSON.
        about: the argument that errors name.
        exact: the text of the answer has to match the grammar to the character. Line breaks between a think block and
            the answer are not part of the text, and the grammar does not see them.
        unenforced: JSON pointers of keywords of the schemas that the grammar does not enforce, or only partly. Pointers
            into a function's parameters begin with its name.
    """

    text: str
    schema: Mapping[str, Any] | None = None
    unenforced: tuple[str, ...] = ()
    about: str = "schema"
    exact: bool = False
    matcher: LLMatcher | None = field(default=None, repr=False)
    """The compiled grammar, in its first state; set by Grammars.prepare."""

    def errors(self, answer: str) -> tuple[str, ...]:
        """How a finished answer breaks its schema; () if it follows it, or has none."""
        if self.schema is None:
            return ()
        try:
            value = json.loads(answer)
        except (ValueError, RecursionError) as error:
            return (f"the answer is not complete JSON: {error}",)
        return SchemaChecker(self.schema).check(value).listed()


def answer_grammar(
    schema: Mapping[str, Any] | None,
    functions: Sequence[Mapping[str, Any]] = (),
    *,
    form: AnswerForm | None = None,
    calls: tuple[int, int] | None = None,
    several: bool = True,
    text: bool = False,
    after_thinking: bool,
) -> Grammar:
    """Make the grammar of an answer.

    Args:
        schema: of an answer in JSON, as `read_schema` returns it; None: answers in JSON are not allowed.
        functions: {"name": ..., "parameters": schema, "place": ...} of the functions that may be called instead. The
            place, as in `tools[2].function`, is for errors.
        form: of an answer that is not JSON; None: it has none. Only one of `schema` and `form` may be given.
        calls: ids of the tokens that open and close a call.
        several: whether several calls may follow each other.
        text: whether free text may come before the calls, or instead of them. If no grammar can be made of a function's
            parameters, its arguments are then free.
        after_thinking: whether a think block may come before; the line breaks after it are then allowed.

    Raises:
        ArgumentError: a schema that cannot be followed; the message names the place in it.
    """
    rules: list[str] = []
    kinds: list[str] = []
    unenforced: list[str] = []
    multiples = MOST_MULTIPLES
    if schema is not None:
        made = _narrowed(json.dumps(schema), None, multiples)
        multiples = made.multiples
        rules.append(f"answer: %json {_dumps(made.whole())}")
        kinds.append("answer")
        unenforced += made.unenforced
    if form is not None:
        kinds.append("@answer")
    if functions and calls is not None:
        kinds.append("TEXT? calls?" if text else "calls")
        rules.append(f'call: <[{calls[0]}]> "\\n" body "\\n" <[{calls[1]}]>')
        rules.append(f'calls: call ("\\n" call){{0,{MOST_CALLS - 1}}}' if several else "calls: call")
        rules.append("body: " + " | ".join(f"function_{place}" for place in range(len(functions))))
        rules += [r"TEXT: /(.|\n)+/"] if text else []
        for place, function in enumerate(functions):
            made = _arguments(function, multiples, lenient=text)
            multiples = made.multiples
            unenforced += [f"{function['name']}:{pointer}" for pointer in made.unenforced]
            rules.append(f"function_{place}: %json {_dumps(_call_schema(function['name'], made), ' ?')}")
    start = f"({' | '.join(kinds)})"
    if after_thinking and form is None:
        rules.append(r"BREAKS: /\n{1,2}/")
        start = f"BREAKS? {start}"
    whole = "\n".join([f"start: {start}", *rules, ""])
    if form is not None:
        parts = [{"name": "whole", "lark_grammar": whole}, {"name": "answer", "lark_grammar": form.lark}]
        return Grammar(json.dumps({"grammars": parts}), None, tuple(unenforced), form.kind, exact=True)
    about = "tools" if schema is None else "schema"
    return Grammar(whole, schema, tuple(unenforced), about)


class Grammars:
    """Compiles the grammars of one model's answers, each text once. May be used from several threads.

    Args:
        tokenizer: the model's.
        eos_token_ids: tokens that may come when an answer is complete.
    """

    def __init__(self, tokenizer: Tokenizer, eos_token_ids: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._eos = eos_token_ids
        self._lock = ForkLock()
        self._compiling = ForkLock()
        self._vocabulary: LLTokenizer | None = None
        self._compiled: Memo[LLMatcher | str] = Memo(COMPILED_BYTES, _compiled_bytes)
        self._process = os.getpid()

    def prepare(self, grammar: Grammar) -> None:
        """Compile a grammar, which may take seconds. `matcher` is fast after that.

        Raises:
            ArgumentError: the grammar cannot be compiled, or llguidance is missing.
            EngineError: this process was forked while another thread read the vocabulary or compiled.
        """
        if grammar.matcher is not None:
            return
        if grammar.exact:
            _ = self._line_breaks  # looks at every token of the vocabulary
        vocabulary, items = self._load(), MOST_FORM_ITEMS if grammar.exact else MOST_ITEMS
        try:
            with self._compiling.held():
                found = self._compiled.get(grammar.text, lambda: _compiled(grammar.text, vocabulary, items))
        except ArgumentError as error:
            raise ArgumentError(f"{grammar.about}: {str(error).removeprefix('schema: ')}") from None
        if isinstance(found, str):
            raise ArgumentError(f"{grammar.about}: {found}")
        grammar.matcher = found

    def matcher(self, grammar: Grammar) -> LLMatcher:
        """A copy of the compiled grammar for one answer. Raises the same errors as `prepare`."""
        self.prepare(grammar)
        assert grammar.matcher is not None
        with LIBRARY:
            return grammar.matcher.deep_copy()

    def constraint(self, grammar: Grammar, think: int | None) -> Constraint:
        """The constraint of one answer. Arguments are those of Constraint, errors those of `prepare`."""
        return Constraint(self.matcher(grammar), think, self._line_breaks if grammar.exact else None)

    @cached_property
    def _line_breaks(self) -> LineBreaks:
        return LineBreaks([self._tokenizer.token_bytes(token) for token in range(self._tokenizer.size)])

    def _load(self) -> LLTokenizer:
        with self._lock.held():
            if LIBRARY.lost and self._process != os.getpid():
                _kept.append((self._vocabulary, self._compiled))
                self._vocabulary = None
                self._compiled = Memo(COMPILED_BYTES, _compiled_bytes)
            self._process = os.getpid()
            if self._vocabulary is None:
                try:
                    from llguidance import LLTokenizer, TokenizerWrapper
                except ImportError:
                    raise ArgumentError("a grammar needs llguidance: pip install 'qwen3cpu[schema]'") from None
                eos = sorted(token for token in self._eos if token < self._tokenizer.size)
                wrapper = TokenizerWrapper(_Vocabulary(self._tokenizer, eos[0] if eos else 0))
                self._vocabulary = LLTokenizer(wrapper, eos_token=eos or None)
            return self._vocabulary


_kept: list[object] = []
"""Vocabularies and compiled grammars that another thread used when the process forked. They are kept, because freeing
them would wait for their locks."""


class _Vocabulary:
    """A tokenizer with the interface that llguidance expects."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, eos: int) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = eos
        self.tokens = [tokenizer.token_bytes(token) for token in range(tokenizer.size)]
        self.special_token_ids = sorted(tokenizer.control_tokens.values())

    def __call__(self, text: str | bytes) -> list[int]:
        return self._tokenizer.encode(text.decode() if isinstance(text, bytes) else text)


def _arguments(function: Mapping[str, Any], multiples: int, *, lenient: bool) -> Narrowed:
    """The narrowed schema of a function's arguments, which are an object."""
    parameters = function.get("parameters") or {}
    try:
        return _narrowed(json.dumps(parameters), "object", multiples)
    except SchemaError as error:
        if not lenient:
            raise error.at(f"{function.get('place', 'tools')}.parameters") from None
    from qwen3cpu.generation.schemas.narrowing import Narrowed

    return Narrowed({"type": "object"}, {}, ("",), multiples)


@remembered(NARROWED_BYTES, lambda args, made: bytes_of(args) + bytes_of([made.whole(), made.unenforced]))
def _narrowed(schema: str, kind: str | None, multiples: int) -> Narrowed:
    """Narrow a schema; results are kept, because the same schemas come with every message of a conversation."""
    from qwen3cpu.generation.schemas.narrowing import narrowed  # imported here: most answers follow no schema

    return narrowed(json.loads(schema), kind=kind, multiples=multiples)


def _call_schema(name: str, arguments: Narrowed) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": arguments.schema},
        "required": ["name", "arguments"],
        "additionalProperties": False,
        "$defs": arguments.definitions,
    }


def _dumps(schema: Mapping[str, Any], whitespace: str = WHITESPACE) -> str:
    return json.dumps({**schema, "x-guidance": {"whitespace_pattern": whitespace}})


def _compiled_bytes(text: str, compiled: object) -> int:
    """Upper estimate of a compiled grammar's bytes: any takes half a megabyte, and a character up to 80 bytes."""
    return (1 << 20) + 100 * len(text)


def _compiled(text: str, vocabulary: LLTokenizer, items: int) -> LLMatcher | str:
    """Compile a grammar; return it, or the reason why it fails. items: most items of the parser in one step."""
    from llguidance import LLMatcher, LLParserLimits

    limits = LLParserLimits(
        max_lexer_states=MOST_STATES, max_grammar_size=MOST_SYMBOLS, step_max_items=items, verbose_errors=False
    )
    made: list[LLMatcher] = []
    failed: list[Exception] = []

    def make() -> None:
        try:
            with LIBRARY:
                made.append(LLMatcher(vocabulary, text, log_level=0, limits=limits))
        except Exception as error:
            failed.append(error)

    # llguidance follows references by recursion and does not check how much stack is left.
    thread = threading.Thread(target=make, name="qwen3cpu-grammar", daemon=True)
    with _stack_size.held():
        before = threading.stack_size(STACK)
        try:
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    if failed:
        raise failed[0]
    with LIBRARY:
        first = made[0].deep_copy()
        first.compute_bitmask()  # finds a grammar that is too large for its first token
    return problem_text(first.get_error()) if first.is_error() else made[0]
