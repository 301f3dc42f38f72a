"""Finds the commit that the package was built from."""

from __future__ import annotations

import importlib
import subprocess
from pathlib import Path


def commit() -> str | None:
    """Return the commit of the source tree that the package runs from, or the one it was built from.

    Returns:
        12 hexadecimal digits, with "-dirty" if there were changes; None: unknown.
    """
    return _of_source_tree() or _of_build()


def _of_build() -> str | None:
    """Read what cmake/commit.cmake wrote into the installed package."""
    try:
        module = importlib.import_module("qwen3cpu._commit")
    except ImportError:
        return None
    return str(module.COMMIT) or None


def _of_source_tree() -> str | None:
    folder = Path(__file__).parents[1]

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed package may lie inside another repository, which does not track it.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*") or None
