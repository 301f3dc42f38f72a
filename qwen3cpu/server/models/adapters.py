"""Finds adapters that clients load. Only one folder is allowed, whatever path they name."""

from __future__ import annotations

from pathlib import Path

from qwen3cpu.errors import ArgumentError


def path_inside(folder: Path, asked: str) -> Path:
    """The path of an adapter that a client asks for.

    Args:
        folder: the folder of adapters.
        asked: a path, relative to the folder or absolute.

    Raises:
        ArgumentError: the path does not exist, or it or a file in it is outside the folder, by its name or by a link.
    """
    try:
        root = folder.resolve(strict=True)
        path = (root / asked).resolve(strict=True)
        inside = path != root and path.is_relative_to(root)
        if inside and path.is_dir():
            inside = all(each.resolve().is_relative_to(root) for each in path.iterdir())
    except (OSError, ValueError, RuntimeError):  # no such path; a NUL in it; links in a circle
        raise _refused(asked) from None
    if not inside:
        raise _refused(asked)
    return path


def _refused(asked: str) -> ArgumentError:
    """The same error for every wrong path, so that a client cannot find out which files there are elsewhere."""
    return ArgumentError(f"lora_path: expected an adapter inside the folder of adapters, found {asked[:200]!r}")
