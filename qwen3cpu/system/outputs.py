"""Checks the place of an output before the work: nothing but an earlier output of the same form is replaced."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from qwen3cpu.errors import ArgumentError


def check_output(
    name: str,
    path: Path,
    form: str,
    starts: Iterable[bytes],
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> None:
    """Raise ArgumentError unless a file can be written to a path, and replaces nothing but an earlier output.

    Args:
        name: of the argument, for the error.
        path: of the output.
        form: what is written there, such as "a GGUF file", for the error.
        starts: an earlier output is empty or begins with one of these.
        inputs: files that the work reads.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        _check_folder(name, path)
        return
    except OSError as reason:
        raise ArgumentError(f"{name}: {path} cannot be written: {reason.strerror or reason}") from None
    if any(_is_same(path, each) for each in inputs):
        found = "the input"
    elif stat.S_ISLNK(mode):
        found = "a link"
    elif stat.S_ISDIR(mode):
        found = "a folder"
    elif not stat.S_ISREG(mode):
        found = "a device, a pipe or a socket"
    elif _begins(path, tuple(starts)):
        return
    else:
        found = "something else"
    raise ArgumentError(f"{name}: expected no file or {form} to replace, found {found} at {path}")


def _check_folder(name: str, path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise ArgumentError(f"{name}: {path} cannot be written: No such file or directory")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ArgumentError(f"{name}: {path} cannot be written: Permission denied")


def _is_same(path: Path, other: str | os.PathLike[str]) -> bool:
    try:
        return os.path.samefile(path, other)
    except (OSError, ValueError):
        return False


def _begins(path: Path, starts: tuple[bytes, ...]) -> bool:
    try:
        with open(path, "rb") as file:
            beginning = file.read(max(map(len, starts)))
    except OSError:
        return False
    return not beginning or beginning.startswith(starts)
