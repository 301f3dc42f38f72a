"""`qwen3cpu chat`: a conversation on the terminal, or from a pipe with one message on each line."""

from qwen3cpu.cli.chat.command import add_command, run_chat

__all__ = ["add_command", "run_chat"]
