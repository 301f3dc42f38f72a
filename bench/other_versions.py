"""Naming other versions of qwen3cpu on the command line of a benchmark."""

from __future__ import annotations

import argparse


def named_python(text: str) -> tuple[str, str]:
    """LABEL=PYTHON, what a version is called and its interpreter, as a pair.

    Raises argparse.ArgumentTypeError for anything else.
    """
    label, found, path = text.partition("=")
    if not (label and found and path):
        raise argparse.ArgumentTypeError(f"expected LABEL=PYTHON, found {text!r}")
    return label, path
