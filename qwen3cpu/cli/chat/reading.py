"""Reads what is typed: from a pipe, with Python's input(), or with an editor."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Protocol

from qwen3cpu.cli.chat.abilities import has_editor, is_smart
from qwen3cpu.cli.chat.multiline import CONTINUATION, PROMPT, is_open, without_quotes
from qwen3cpu.cli.chat.remarks import remark
from qwen3cpu.cli.chat.state import Chat


class Reader(Protocol):
    """Hands out messages and commands."""

    def read(self) -> str | None:
        """The next one; None at the end. Raises KeyboardInterrupt for Ctrl-C."""


class PipeReader:
    """A line of stdin is a message."""

    def __init__(self) -> None:
        self._started = False

    def read(self) -> str | None:
        """See Reader."""
        line = sys.stdin.readline()
        if not self._started:
            line, self._started = line.removeprefix("\ufeff"), True  # drop a byte order mark
            return line or sys.stdin.readline() or None
        return line if line else None


class InputReader:
    """Reads with input(), for dumb terminals and for an installation without the extra [chat]."""

    def read(self) -> str | None:
        """See Reader."""
        try:
            text = input(PROMPT)
            while is_open(text):
                text += "\n" + input(CONTINUATION)
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            print()
            raise
        return without_quotes(text)


def make_reader(chat: Chat) -> Reader:
    """The reader for the stdin of this process."""
    if not chat.interactive:
        return PipeReader()
    if has_editor():
        from qwen3cpu.cli.chat.editor import Editor

        return Editor(history=chat.history)
    if is_smart():
        remark("a paste of several lines is several messages here; pip install 'qwen3cpu[chat]' adds an editor")
        with suppress(ImportError):  # without readline, lines cannot be edited
            import readline  # noqa: F401  # input() edits lines with it
    return InputReader()
