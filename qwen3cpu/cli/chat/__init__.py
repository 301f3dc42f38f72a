"""`qwen3cpu chat`: a conversation on the terminal, or a message a line from a pipe."""

from qwen3cpu.cli.chat.command import add_command, run_chat

__all__ = ["add_command", "run_chat"]
