"""The chat's own output: remarks and lists, wrapped at the width of the terminal."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import Final, TextIO

from qwen3cpu.cli.terminal import note
from qwen3cpu.system.standard_streams import CONTROLS

_LEAST: Final = 20
_NARROW: Final = 72
"""Columns below which the explanations of a list are on their own lines."""


def remark(text: str) -> None:
    """Write a remark to stderr, dimmed on a terminal."""
    line = text.translate(CONTROLS)
    note(_wrapped(line, _columns(sys.stderr)) if sys.stderr.isatty() else line)


def print_list(rows: Iterable[tuple[str, str]]) -> None:
    """Print names with their explanations."""
    rows = [*rows]
    columns = _columns(sys.stdout)
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        if columns >= _NARROW:
            print(f"  {name:{width}}  {text}")
        else:
            print(f"  {name}\n{_wrapped(text, columns, '    ')}")


def _columns(stream: TextIO) -> int:
    """The columns of a terminal; 80 for anything else."""
    if not stream.isatty():
        return 80
    return max(_LEAST, os.get_terminal_size(stream.fileno()).columns or shutil.get_terminal_size().columns)


def _wrapped(text: str, columns: int, indent: str = "") -> str:
    return textwrap.fill(
        text, columns, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
