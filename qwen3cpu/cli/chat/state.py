"""The state of a running chat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qwen3cpu.cli.chat.remarks import remark

if TYPE_CHECKING:
    from qwen3cpu.cli.chat.attachments import Attachment
    from qwen3cpu.generation.conversation import Conversation
    from qwen3cpu.generation.toolbox import Toolbox
    from qwen3cpu.model import Model


@dataclass
class Chat:
    """A conversation, the model that answers, and how both are shown.

    Attributes:
        model: answers, and resumes conversations.
        conversation: the messages so far.
        interactive: whether a person types at a terminal.
        open_model: loads another model by its name.
        show_thinking: None: dimmed and then folded to a line; on a pipe not at all. True: all of it. False: none.
        markdown: whether answers are rendered if the terminal can show it.
        history: whether what is typed is kept in a file.
        toolbox: runs the tool calls of the model; None: there are no tools.
        files: the files that go with the next message.
        ended: whether the user has ended the chat.
    """

    model: Model
    conversation: Conversation
    interactive: bool
    open_model: Callable[[str], Model]
    show_thinking: bool | None = None
    markdown: bool = True
    history: bool = True
    toolbox: Toolbox | None = None
    files: list[Attachment] = field(default_factory=list)
    ended: bool = False

    def confirm(self, text: str) -> None:
        """Report what a command has done, if a person types."""
        if self.interactive:
            remark(text)
