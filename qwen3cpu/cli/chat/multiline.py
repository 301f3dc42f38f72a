"""Typed messages of several lines."""

from __future__ import annotations

from typing import Final

PROMPT: Final = "> "
CONTINUATION: Final = ". "
HINT: Final = "a message, or /? for help"
QUOTES: Final = '"""'


def is_open(text: str) -> bool:
    '''Whether a message begins with """ without a closing """ so far.'''
    text = text.strip()
    return text.startswith(QUOTES) and QUOTES not in text[len(QUOTES) :]


def without_quotes(text: str) -> str:
    '''A message without the """ around it.'''
    stripped = text.strip()
    if stripped.startswith(QUOTES) and stripped.endswith(QUOTES) and len(stripped) >= 2 * len(QUOTES):
        return stripped[len(QUOTES) : -len(QUOTES)].strip("\n")
    return text
