"""Checks paths that a caller gives, before anything is read or written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from qwen3cpu.errors import ArgumentError

_LONGEST: Final = 32767
"""Characters of the longest path that a supported system allows."""


def checked_path(name: str, path: object) -> Path:
    """Return a path with `~` replaced by the home directory.

    Args:
        name: of the argument, for the error.
        path: a str or a path object.

    Raises:
        ArgumentError: it is something else, is empty, names no home directory, or no file can have such a name.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentError(f"{name}: expected a path, found {type(path).__name__}")
    text = os.fsdecode(path)
    if not text:
        raise ArgumentError(f"{name}: expected a path, found an empty one")
    if len(text) > _LONGEST:
        raise ArgumentError(f"{name}: expected a path of at most {_LONGEST} characters, found {len(text)}")
    if "\0" in text:
        raise ArgumentError(f"{name}: expected a path, found one with a NUL character")
    try:
        os.fsencode(text)
        return Path(text).expanduser()
    except UnicodeEncodeError:
        raise ArgumentError(f"{name}: expected a path that UTF-8 can encode, found {text[:200]!r}") from None
    except RuntimeError:  # ~name, and there is no such user
        raise ArgumentError(f"{name}: expected a path, found the home directory of nobody in {text[:200]!r}") from None


def printable(name: str) -> str:
    """The name of a file with an escape for each byte that is not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
