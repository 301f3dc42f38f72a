"""Finds what the user names (a folder, a file, a hub id, a model inside the package) on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from qwen3cpu.checkpoint import hub
from qwen3cpu.errors import ArgumentError, CheckpointError

EMBEDDED: Final = ("tiny", "tiny-embedding")
"""The models inside the package: one that writes text, one that embeds."""


class Located(NamedTuple):
    """A model on this machine. name: as the user gave it. label: a short name, for files. path: its file or folder."""

    name: str
    label: str
    path: Path


def locate(source: str | os.PathLike[str], wanted: Sequence[str] = hub.WHOLE) -> Located:
    """Find a model. `wanted` is downloaded first when the source is a hub id.

    Raises ArgumentError for a source of a wrong type, CheckpointError when there is no such path and it is no hub id,
    DownloadError when a hub id cannot be fetched.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise ArgumentError(f"source: expected a path or a hub id, found {type(source).__name__}")
    text = os.fsdecode(source)
    if text in EMBEDDED and isinstance(source, str):
        return Located(text, text, Path(__file__).parents[1] / "assets" / text)
    path = os.path.expanduser(text)
    if text and os.path.exists(path):
        return Located(text, Path(path).resolve().name, Path(path))
    if isinstance(source, str) and hub.is_hub_id(text):
        return Located(text, text, hub.download(text, wanted))
    raise CheckpointError(
        f"{text!r}: expected an existing model folder, packed file or GGUF file, or a hub id of the form owner/name; "
        "found neither"
    )
