"""Naming other versions of qwen3cpu on the command line of a benchmark."""

from __future__ import annotations

import argparse


def named_python(text: str) -> tuple[str, str]:
    """Parse LABEL=PYTHON: the name of a version and its interpreter.

    Raises argparse.ArgumentTypeError for anything else.
    """
    label, found, path = text.partition("=")
    if not (label and found and path):
        raise argparse.ArgumentTypeError(f"expected LABEL=PYTHON, found {text!r}")
    return label, path
