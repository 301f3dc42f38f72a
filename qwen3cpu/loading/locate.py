"""From what the user names (a folder, a file, a hub id, "tiny") to a path on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from qwen3cpu.checkpoint import hub
from qwen3cpu.errors import ArgumentError, CheckpointError

EMBEDDED: Final = "tiny"


def locate(source: str | os.PathLike[str], wanted: Sequence[str] = hub.WHOLE) -> tuple[str, str, Path]:
    """(the source as text, a short name for it, its file or folder), `wanted` downloaded first when it is a hub id."""
    if not isinstance(source, (str, os.PathLike)):
        raise ArgumentError(f"source: expected a path or a hub id, found {type(source).__name__}")
    text = os.fsdecode(source)
    if text == EMBEDDED and isinstance(source, str):
        return text, text, Path(__file__).parents[1] / "assets" / EMBEDDED
    path = os.path.expanduser(text)
    if text and os.path.exists(path):
        return text, Path(path).resolve().name, Path(path)
    if isinstance(source, str) and hub.is_hub_id(text):
        return text, text, hub.download(text, wanted)
    raise CheckpointError(
        f"{text!r}: expected an existing model folder, packed file or GGUF file, or a hub id of the form owner/name; "
        "found neither"
    )
