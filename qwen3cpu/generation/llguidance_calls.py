"""Wraps all calls of llguidance: it handles forks, the end of the interpreter and panics in Rust."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Final

from qwen3cpu.errors import ArgumentError, is_panic
from qwen3cpu.system.library_calls import LibraryCalls


class _Calls(LibraryCalls):
    """A context manager around calls of llguidance. Raises ArgumentError for a panic, which is not an Exception."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        if error is not None and is_panic(error):
            raise ArgumentError(f"schema: llguidance failed: {error}") from None


LIBRARY: Final = _Calls()
NOTHING: Final = "NoExtension"
"""How llguidance's message begins for a grammar that allows no text at all."""
LONGEST: Final = 300
"""Most characters of a message."""

_EXPRESSION = re.compile(r"invalid regex .*? \(in regex\): (?P<problem>[^\n]*)(?:\n {4}[^\n]*\n {4}(?P<before> *)\^)?")
_ERROR = re.compile(r"^error: ([^\n]*)", re.MULTILINE)


def problem_text(message: str) -> str:
    """Shorten llguidance's message about a grammar to one line.

    Args:
        message: of llguidance. For a regular expression it shows the place with a mark below it, and then the reason.
    """
    if message.startswith(NOTHING):
        return "nothing matches it"
    expression, error = _EXPRESSION.search(message), _ERROR.search(message)
    if expression is None:
        return message.strip().partition("\n")[0][:LONGEST]
    if error is None or expression["before"] is None:
        return expression["problem"][:LONGEST]
    return f"character {len(expression['before']) + 1} of the expression: {error[1]}"[:LONGEST]
