"""An editor for messages, made with prompt_toolkit: several lines, history, completion. A paste is one message."""

from __future__ import annotations

from typing import Final

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import History, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output

from qwen3cpu.cli.chat.completion import ChatCompleter
from qwen3cpu.cli.chat.history import open_history
from qwen3cpu.cli.chat.multiline import CONTINUATION, HINT, PROMPT, is_open, without_quotes

_MENU_LINES: Final = 6


class Editor:
    """A Reader (reading.py) with an editor.

    Args:
        history: whether to keep a file of what was typed.
        keys: the input of keys; None: stdin.
        screen: the output; None: stdout.
    """

    def __init__(self, *, history: bool, keys: Input | None = None, screen: Output | None = None) -> None:
        kept: History = (open_history() if history else None) or InMemoryHistory()
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            multiline=True,
            prompt_continuation=CONTINUATION,
            placeholder=FormattedText([("fg:ansibrightblack", HINT)]),
            history=kept,
            completer=ChatCompleter(),
            complete_while_typing=True,
            enable_open_in_editor=True,
            reserve_space_for_menu=_MENU_LINES,
            key_bindings=_bindings(),
            input=keys,
            output=screen,
        )

    def read(self) -> str | None:
        """See Reader."""
        try:
            text = self._session.prompt()
            # A paste during the answer is one message too.
            self._session.output.enable_bracketed_paste()
            self._session.output.flush()
        except EOFError:
            return None
        # Bytes that are not UTF-8 arrive as lone surrogates, which a prompt must not contain.
        return without_quotes(text.encode("utf-8", "replace").decode("utf-8"))


def _bindings() -> KeyBindings:
    bindings = KeyBindings()
    typing = has_focus(DEFAULT_BUFFER)

    @bindings.add("enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        """Send the message; inside of open quotes, begin a new line."""
        if is_open(event.current_buffer.text):
            event.current_buffer.insert_text("\n")
        else:
            event.current_buffer.validate_and_handle()

    @bindings.add("escape", "enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        """Begin a new line."""
        event.current_buffer.insert_text("\n")

    @bindings.add("c-c", filter=typing & Condition(lambda: bool(get_app().current_buffer.text)))
    def _(event: KeyPressEvent) -> None:
        """Delete what was typed. With nothing typed, Ctrl-C is an interruption."""
        event.current_buffer.reset()

    return bindings
