"""What the terminal of this process can do."""

from __future__ import annotations

import importlib.util
import os
import sys

from qwen3cpu.cli.terminal import uses_colour


def is_smart() -> bool:
    """Whether stdin and stdout are a terminal that can move its cursor."""
    return os.environ.get("TERM", "dumb") != "dumb" and sys.stdin.isatty() and sys.stdout.isatty()


def has_editor() -> bool:
    """Whether lines are edited with prompt_toolkit, which the extra [chat] brings."""
    return is_smart() and importlib.util.find_spec("prompt_toolkit") is not None


def shows_markdown() -> bool:
    """Whether answers are rendered: on a terminal that shows escape sequences."""
    return is_smart() and uses_colour(sys.stdout)
