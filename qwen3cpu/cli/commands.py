"""The type of what the commands of `qwen3cpu` are added to."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import argparse

    from qwen3cpu.system.command_parser import CommandParser

# argparse has no public name for it, and the class takes no type arguments when the program runs.
Commands: TypeAlias = "argparse._SubParsersAction[CommandParser]"
