"""Searches texts for regular expressions of JSON schemas in linear time, so that no expression can hang.

`re` backtracks, so `^(a+)+$` takes exponential time. Here all ways to match advance together, one character at a time
(Thompson's simulation of an NFA). The standard library parses the expressions. Libraries with linear time (RE2, Rust's
`regex`) do not count steps, and lack look-around, with which schemas describe passwords.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from qwen3cpu.text.memo import bytes_of, remembered
from qwen3cpu.text.pattern_syntax import Test, UncheckedPatternError, python_syntax

# The parser of expressions has this name since Python 3.11. Its earlier name, `sre_parse`, still works, but warns.
_parser: Final = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
_sre: Final = importlib.import_module("re._constants" if sys.version_info >= (3, 11) else "sre_constants")

MOST_STATES: Final = 20_000
"""Most states of one expression, those of look-around and items of classes included. Counted repetitions are copied."""
KEPT_BYTES: Final = 16 << 20
"""Most bytes of states that are kept, for the expressions used last."""
_STATE_BYTES: Final = 1200
_EMPTY_IS_NO_BOUNDARY: Final = re.search(r"\B", "") is not None  # since Python 3.14


class Budget:
    """A number of steps that several searches share.

    Args:
        steps: most steps.
    """

    def __init__(self, steps: int) -> None:
        self._left = steps

    def spend(self, steps: int) -> None:
        """Count steps. UncheckedPatternError when none are left."""
        self._left -= steps
        if self._left < 0:
            raise UncheckedPatternError("it takes too many steps")


def search(pattern: str, text: str, budget: Budget) -> bool:
    """Whether a text has a match of an expression somewhere.

    Args:
        pattern: in ECMAScript's syntax, as pattern_syntax.py reads it. `$` is the end of the text only.
        text: where to search.
        budget: of steps.

    Raises:
        UncheckedPatternError: the expression has a back reference or an atomic group, or is not valid; or the budget
            is spent.
    """
    program, _ = _program(pattern)
    if isinstance(program, str):
        raise UncheckedPatternError(program)
    return _Search(text, budget).found(program, 0, anchored=False)


@dataclass(frozen=True)
class _State:
    """One state of the NFA.

    Attributes:
        test: which characters lead to the next state; None: the state takes no character.
        next: states that follow.
        holds: the condition at a position for entering the next states; None: no condition.
    """

    test: Test | None
    next: tuple[int, ...]
    holds: Callable[[_Search, int], bool] | None = None


_Program = list[_State]
"""A search begins in the first state. A state without successors is a match."""


@remembered(KEPT_BYTES, lambda args, found: bytes_of(args) + _STATE_BYTES * (1 + found[1]))
def _program(pattern: str) -> tuple[_Program | str, int]:
    """The states of an expression, or why it has none; and their number, with those of look-around."""
    try:
        syntax, properties = python_syntax(pattern)
        parsed = _parser.parse(syntax)
        size = _Size()
        return _Compiler(properties, size).program(parsed, parsed.state.flags), size.states
    except UncheckedPatternError as reason:
        return str(reason), 0
    except (re.error, RecursionError, OverflowError, MemoryError, Warning) as error:
        return f"it is not a supported regular expression: {str(error)[:100]}", 0


class _Size:
    """Counts the states of an expression."""

    states = 0

    def add(self, states: int) -> None:
        """Count states, or items of a class. UncheckedPatternError when there are too many."""
        self.states += states
        if self.states > MOST_STATES:
            raise UncheckedPatternError(f"it has more than {MOST_STATES} states")


class _Compiler:
    def __init__(self, properties: dict[int, Test], size: _Size) -> None:
        self._properties = properties
        self._size = size
        self._classes: dict[tuple[int, int], Test] = {}
        self._states: list[_State] = []

    def program(self, parsed: Iterable[Any], flags: int) -> _Program:
        """The states of a parsed expression."""
        match = self._add(None, ())
        first = self._sequence(parsed, flags, match)
        # Searches begin at state 0.
        return [_State(None, (first + 1,)), *(_moved(state) for state in self._states)]

    def _add(self, test: Test | None, after: tuple[int, ...], holds: Any = None) -> int:
        self._size.add(1)
        self._states.append(_State(test, after, holds))
        return len(self._states) - 1

    def _sequence(self, parsed: Iterable[Any], flags: int, after: int) -> int:
        for operation, argument in reversed(list(parsed)):
            after = self._one(operation, argument, flags, after)
        return after

    def _one(self, operation: Any, argument: Any, flags: int, after: int) -> int:
        """The first state of one operation, which leads to `after`."""
        if operation in (_sre.LITERAL, _sre.NOT_LITERAL, _sre.ANY, _sre.IN):
            return self._add(self._shared_test(operation, argument, flags), (after,))
        if operation is _sre.SUBPATTERN:
            _, added, removed, inner = argument
            return self._sequence(inner, (flags | added) & ~removed, after)
        if operation is _sre.BRANCH:
            return self._add(None, tuple(self._sequence(each, flags, after) for each in argument[1]))
        if operation in (_sre.MAX_REPEAT, _sre.MIN_REPEAT):
            return self._repeat(argument, flags, after)
        if operation is _sre.AT:
            return self._add(None, (after,), _place(argument, flags))
        if operation in (_sre.ASSERT, _sre.ASSERT_NOT):
            return self._add(None, (after,), self._look(argument, flags, wanted=operation is _sre.ASSERT))
        raise UncheckedPatternError(f"{str(operation).lower()} cannot be checked")

    def _repeat(self, argument: Any, flags: int, after: int) -> int:
        least, most, inner = argument
        if most is _sre.MAXREPEAT:
            # The loop's own state is made before the states that it repeats.
            loop = self._add(None, ())
            self._states[loop] = _State(None, (self._sequence(inner, flags, loop), after))
            after = loop
        else:
            end = after
            for _ in range(most - least):
                after = self._add(None, (self._sequence(inner, flags, after), end))
        for _ in range(least):
            before, after = len(self._states), self._sequence(inner, flags, after)
            if len(self._states) == before:
                break  # an empty expression: repeating it adds nothing
        return after

    def _look(self, argument: Any, flags: int, *, wanted: bool) -> Callable[[_Search, int], bool]:
        direction, inner = argument
        program = _Compiler(self._properties, self._size).program(inner, flags)
        width = 0 if direction > 0 else inner.getwidth()[0]

        def holds(state: _Search, position: int) -> bool:
            found = position >= width and state.found(program, position - width, anchored=True)
            return found is wanted

        return holds

    def _shared_test(self, operation: Any, argument: Any, flags: int) -> Test:
        """The test of an operation; copies of a class share one."""
        if operation is not _sre.IN:
            return self._test(operation, argument, flags)
        key = (id(argument), flags)
        if key not in self._classes:
            self._size.add(len(argument))
            self._classes[key] = self._test(operation, argument, flags)
        return self._classes[key]

    def _test(self, operation: Any, argument: Any, flags: int) -> Test:
        """Whether a character is one of those that an operation takes."""
        if operation is _sre.ANY:
            return (lambda _: True) if flags & re.DOTALL else (lambda character: character != "\n")
        items = [(operation, argument)] if operation is not _sre.IN else list(argument)
        negated = operation is _sre.NOT_LITERAL or items[0][0] is _sre.NEGATE
        tests = list(self._item_tests(items, ascii_only=bool(flags & re.ASCII)))

        def matches(character: str) -> bool:
            return any(test(character) for test in tests) is not negated

        def matches_any_case(character: str) -> bool:
            cases = {character, character.lower(), character.upper()}
            return any(test(each) for each in cases if len(each) == 1 for test in tests) is not negated

        return matches_any_case if flags & re.IGNORECASE else matches

    def _item_tests(self, items: Iterable[Any], *, ascii_only: bool) -> Iterator[Test]:
        for kind, value in items:
            if kind is _sre.CATEGORY:
                yield _category(value, ascii_only=ascii_only)
            elif kind is _sre.RANGE:
                yield lambda character, low=value[0], high=value[1]: low <= ord(character) <= high  # type: ignore[misc]
            elif kind is not _sre.NEGATE:
                known = self._properties.get(value)
                yield known or (lambda character, code=value: ord(character) == code)  # type: ignore[misc]


def _moved(state: _State) -> _State:
    return _State(state.test, tuple(each + 1 for each in state.next), state.holds)


def _is_word(character: str, *, ascii_only: bool) -> bool:
    return (character.isalnum() or character == "_") and (not ascii_only or character.isascii())


def _category(kind: Any, *, ascii_only: bool) -> Test:
    def within(character: str) -> bool:
        if kind in (_sre.CATEGORY_WORD, _sre.CATEGORY_NOT_WORD):
            return _is_word(character, ascii_only=ascii_only)
        if ascii_only and not character.isascii():
            return False
        if kind in (_sre.CATEGORY_DIGIT, _sre.CATEGORY_NOT_DIGIT):
            return character.isdecimal()
        return character in " \t\n\r\f\v" if ascii_only else character.isspace()

    negated = kind in (_sre.CATEGORY_NOT_WORD, _sre.CATEGORY_NOT_DIGIT, _sre.CATEGORY_NOT_SPACE)
    return lambda character: within(character) is not negated


def _place(kind: Any, flags: int) -> Callable[[_Search, int], bool]:
    """The condition of an anchor or a word boundary."""
    lines, ascii_only = bool(flags & re.MULTILINE), bool(flags & re.ASCII)

    def boundary(text: str, position: int) -> bool:
        around = text[max(0, position - 1) : position], text[position : position + 1]
        before, after = (bool(each) and _is_word(each, ascii_only=ascii_only) for each in around)
        return before is not after

    def holds(state: _Search, position: int) -> bool:
        text = state.text
        if kind is _sre.AT_BEGINNING:
            return position == 0 or (lines and text[position - 1] == "\n")
        if kind is _sre.AT_BEGINNING_STRING:
            return position == 0
        if kind is _sre.AT_END:
            return position == len(text) or (lines and text[position] == "\n")
        if kind is _sre.AT_END_STRING:
            return position == len(text)
        if kind is _sre.AT_BOUNDARY:
            return boundary(text, position)
        return not boundary(text, position) and (bool(text) or _EMPTY_IS_NO_BOUNDARY)

    return holds


class _Search:
    """Searches one text.

    Args:
        text: where to search.
        budget: of steps.
    """

    def __init__(self, text: str, budget: Budget) -> None:
        self.text = text
        self._budget = budget

    def found(self, program: _Program, start: int, *, anchored: bool) -> bool:
        """Whether a match begins at `start`, or, if not anchored, at or after it."""
        seen: set[int] = set()
        states: list[int] = []
        for position in range(start, len(self.text) + 1):
            if not anchored or position == start:
                states.append(0)
            seen.clear()
            waiting = self._entered(program, states, position, seen)
            if waiting is None:
                return True
            if position == len(self.text) or (anchored and not waiting):
                return False
            character = self.text[position]
            self._budget.spend(len(waiting))
            states = [program[each].next[0] for each in waiting if program[each].test(character)]  # type: ignore[misc]
        return False

    def _entered(self, program: _Program, states: list[int], position: int, seen: set[int]) -> list[int] | None:
        """The states that wait for a character, after all others have been passed; None: a match was reached."""
        waiting: list[int] = []
        open_states = list(states)
        while open_states:
            index = open_states.pop()
            if index in seen:
                continue
            seen.add(index)
            self._budget.spend(1)
            state = program[index]
            if state.test is not None:
                waiting.append(index)
            elif not state.next:
                return None
            elif state.holds is None or state.holds(self, position):
                open_states += state.next
        return waiting
