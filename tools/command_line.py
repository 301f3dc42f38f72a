"""Writes the options of every command into docs/command-line.md, from the parsers of the command line.

python tools/command_line.py
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from qwen3cpu.cli.main import make_parser

PAGE = Path(__file__).parents[1] / "docs" / "command-line.md"
BEGIN, END = "<!-- options -->\n", "<!-- end of options -->"


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands of a parser by name, without their aliases."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, each in action.choices.items():
                if each not in found.values():
                    found[name] = each
    return found


def leaves(parser: argparse.ArgumentParser, name: str) -> list[tuple[str, argparse.ArgumentParser]]:
    """Every command without subcommands, with its full name."""
    below = subparsers(parser)
    if not below:
        return [(name, parser)]
    return [leaf for word, each in below.items() for leaf in leaves(each, f"{name} {word}")]


def cell(words: str) -> str:
    """A text, escaped for a table. JSON becomes code, because braces at the end would be taken for attributes."""
    words = re.sub(r"\s+", " ", words).strip().replace("|", "\\|").replace("<", "&lt;")
    return re.sub(r"\{[^{}]*\}", r"`\g<0>`", words)


def shown_default(action: argparse.Action) -> str:
    """The default value, unless the help mentions it."""
    if action.default in (None, argparse.SUPPRESS, False, [], ()) or not action.option_strings:
        return ""
    return f"`{cell(str(action.default))}`"


def kind(action: argparse.Action) -> str:
    """The kind of value that an option takes."""
    if action.nargs == 0:
        return "flag"
    if action.choices is not None:
        return ", ".join(f"`{each}`" for each in action.choices)
    word = action.metavar or action.dest.upper()
    named = {int: "whole number", float: "number"}.get(action.type) if isinstance(action.type, type) else None
    return f"`{cell(word if isinstance(word, str) else ' '.join(word))}`" + (f", {named}" if named else "")


def row(action: argparse.Action, prog: argparse.ArgumentParser) -> str:
    """The line of one option or argument."""
    formatter = prog._get_formatter()
    names = ", ".join(f"`{each}`" for each in action.option_strings) or f"`{cell(str(action.metavar or action.dest))}`"
    meaning = cell(formatter._expand_help(action)) if action.help else ""
    default = shown_default(action)
    if found := re.fullmatch(r"(.*?)[;,]? ?\(default:? ([^()]*)\)(.*)", meaning):
        meaning, default = f"{found[1]}{found[3]}", default or found[2]
    return f"| {names} | {meaning} | {kind(action)} | {default} |"


def options() -> str:
    """A section for each command."""
    parts = []
    for name, parser in leaves(make_parser(), "qwen3cpu"):
        about = re.sub(r"\s+", " ", parser.description or "").strip()
        actions = [each for each in parser._actions if each.help != argparse.SUPPRESS and each.dest != "help"]
        parts.append(f"### {name}\n\n{about}\n")
        if actions:
            rows = [row(each, parser) for each in actions]
            parts.append("\n".join(["| option | meaning | value | default |", "|---|---|---|---|", *rows, ""]))
    return "\n".join(parts)


def filled(page: str) -> str:
    """The page with its options made from the parsers."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{options()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
