"""What `qwen3cpu` without a command shows: the commands in groups, and what to type first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from qwen3cpu.cli.commands import Commands
from qwen3cpu.system.command_parser import CommandParser

FIRST: Final = (
    ("qwen3cpu demo", "a short tour on the small model inside the package, without a network"),
    ("qwen3cpu run 1.7B", "fetch Qwen3-1.7B once and talk with it"),
    ("qwen3cpu plan 8B", "whether a model fits into this machine, and how fast it can be"),
)
"""What to type first, and what it does."""
COLUMN: Final = 22


class CommandModule(Protocol):
    """A file of a command."""

    @property
    def add_command(self) -> Any:
        """Adds it to the command line."""


class Overview(CommandParser):
    """The parser of the whole command line, whose help shows the commands in groups."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._commands: Commands = self.add_subparsers(title="commands", metavar="COMMAND", parser_class=CommandParser)
        self.groups: list[tuple[str, list[tuple[str, str]]]] = []
        """Titles of groups, and the names of their commands with what each does."""

    def add_group(self, title: str, modules: Sequence[CommandModule]) -> None:
        """Add commands."""
        before = set(self._commands.choices)
        for module in modules:
            module.add_command(self._commands)
        helps: dict[str, str] = {each.dest: each.help for each in vars(self._commands)["_choices_actions"]}
        self.groups.append((title, [(name, helps[name]) for name in self._commands.choices if name not in before]))

    def format_help(self) -> str:
        """The overview."""
        lines = [f"usage: {self.prog} COMMAND ...", "", str(self.description), "", "First:"]
        lines += [f"  {command:{COLUMN}}{text}" for command, text in FIRST]
        for title, commands in self.groups:
            lines += ["", f"{title}:"]
            lines += [f"  {name:{COLUMN}}{text}" for name, text in commands]
        lines += [
            "",
            f"`{self.prog} COMMAND --help` says what a command takes, `{self.prog} --version` the version.",
            "",
        ]
        return "\n".join(lines)
