"""The commit that the package was made from."""

from __future__ import annotations

import importlib
import subprocess
from pathlib import Path


def commit() -> str | None:
    """The commit of the source tree that the package runs from, else the one it was built from.

    Returns:
        12 hexadecimal digits, with "-dirty" when there were changes; None when nothing is known.
    """
    return _of_source_tree() or _of_build()


def _of_build() -> str | None:
    """What cmake/commit.cmake wrote into the installed package."""
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

    # An installed package may lie inside somebody else's repository, which does not track it.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*") or None
