"""The loop of a chat: read a message or a command, answer it, until the end."""

from __future__ import annotations

import os
from contextlib import nullcontext

from qwen3cpu.cli.chat.abilities import has_editor
from qwen3cpu.cli.chat.commands import handle
from qwen3cpu.cli.chat.reading import make_reader
from qwen3cpu.cli.chat.remarks import remark
from qwen3cpu.cli.chat.state import Chat
from qwen3cpu.errors import ArgumentError, Qwen3CpuError
from qwen3cpu.system.keyboard import unseen_keys


class ChatLoop:
    """Reads messages and commands until the end.

    Args:
        chat: the conversation.
    """

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self._reader = make_reader(chat)

    def run(self) -> None:
        """Run until /bye, the end of input, or Ctrl-C twice in a row."""
        with unseen_keys() if self.chat.interactive and has_editor() else nullcontext():
            self._loop()

    def _loop(self) -> None:
        interrupted = False
        while not self.chat.ended:
            try:
                line = self._reader.read()
                if line is None:
                    return
                interrupted = False
                handle(self.chat, line)
            except KeyboardInterrupt:
                if not self.chat.interactive:
                    raise
                if interrupted:
                    return
                interrupted = True
                remark("stopped; Ctrl-C again or Ctrl-D ends the conversation")
            except Qwen3CpuError as error:
                self._tell(error)
            except OSError as error:
                if error.filename is None:  # of a standard stream
                    raise
                self._tell(ArgumentError(f"{os.fsdecode(error.filename)[:200]}: {error.strerror or error}"))

    def _tell(self, error: Qwen3CpuError) -> None:
        """Show an error to a user who types. On a pipe, it ends the chat."""
        if not self.chat.interactive:
            raise error
        remark(" ".join(str(error).split()))
