"""Finds what the user names (a folder, a file, a hub id, a model inside the package) on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Final, NamedTuple

from qwen3cpu.arguments import did_you_mean, shown
from qwen3cpu.checkpoint import hub, hub_gguf
from qwen3cpu.checkpoint.known_models import find_known, nearest_known
from qwen3cpu.errors import ArgumentError, CheckpointError, DownloadError

EMBEDDED: Final = ("tiny", "tiny-embedding")
"""The models inside the package: one that writes text, one that embeds."""


_MOST_QUOTED: Final = 300  # characters


class Located(NamedTuple):
    """A model on this machine.

    Attributes:
        name: as the user gave it, or the full hub id.
        label: a short name, for file names.
        path: its file or folder.
    """

    name: str
    label: str
    path: Path


def locate(source: str | os.PathLike[str], wanted: Sequence[str] = hub.WHOLE) -> Located:
    """Find a model. `wanted` is downloaded first when the source is a hub id or the name of a released model.

    Raises:
        ArgumentError: the source has a wrong type.
        CheckpointError: the source is neither an existing path nor a hub id.
        DownloadError: the model cannot be fetched.
    """
    here = locate_here(source)
    if here is not None:
        return here
    name = name_on_hub(source)
    if find_known(os.fsdecode(source)) is not None:
        return Located(name.repo, name.repo, hub.download(name.repo, wanted))
    return _on_hub(name, wanted)


def locate_here(source: str | os.PathLike[str]) -> Located | None:
    """Find a model inside the package, or an existing path; None: neither. Raises ArgumentError as `locate`."""
    if not isinstance(source, (str, os.PathLike)):
        raise ArgumentError(f"source: expected a path or a hub id, found {type(source).__name__}")
    text = os.fsdecode(source)
    if text in EMBEDDED and isinstance(source, str):
        return Located(text, text, Path(__file__).parents[1] / "assets" / text)
    path = os.path.expanduser(text)
    if text and os.path.exists(path):
        return Located(text, Path(path).resolve().name, Path(path))
    return None


def name_on_hub(source: str | os.PathLike[str]) -> hub_gguf.HubName:
    """Return what a source names on the hub. Raises CheckpointError for a source that cannot be a hub id."""
    text = os.fsdecode(source)
    if isinstance(source, str):
        known = find_known(text)
        name = hub_gguf.hub_name(text) if known is None else hub_gguf.HubName(known.hub_id, None)
        if name is not None:
            return name
    raise CheckpointError(
        f"{_quoted(text)}: expected an existing model folder, packed file or GGUF file, a released model's name or a "
        f"hub id (owner/name, or owner/name:TYPE for GGUF); found none of them{_hint(text)}"
    )


def _quoted(text: str) -> str:
    """A source for a message; one that is longer than any path is cut."""
    return repr(text) if len(text) <= _MOST_QUOTED else shown(text)


def is_name(source: str) -> bool:
    """Whether a text names a model that `locate` would find here or try to fetch. Nothing is fetched."""
    found = source in EMBEDDED or find_known(source) is not None or hub_gguf.hub_name(source) is not None
    return found or os.path.exists(os.path.expanduser(source))


def _on_hub(name: hub_gguf.HubName, wanted: Sequence[str]) -> Located:
    """Fetch a repository's folder with the wanted files, or its model in GGUF."""
    folder = None
    if name.choice is None:
        folder = _download(name.repo, wanted)
        if has_wanted(hub.names_in(folder), wanted):
            return Located(name.repo, name.repo, folder)
    models = hub_gguf.find_gguf(name)
    if folder is not None and not models:
        return Located(name.repo, name.repo, folder)
    model = hub_gguf.choose(name, models)
    return Located(f"{name.repo}:{model.label}", model.stem, hub_gguf.download_gguf(name, model))


def has_wanted(names: set[str], wanted: Sequence[str]) -> bool:
    """Whether these file names include what `wanted` needs: weights for `hub.WHOLE`, otherwise config.json."""
    if wanted is not hub.WHOLE:
        return "config.json" in names
    return hub.has_safetensors(names) or any(fnmatch(name, hub.TORCH_FILES[0]) for name in names)


def _download(hub_id: str, wanted: Sequence[str]) -> Path:
    try:
        return hub.download(hub_id, wanted)
    except DownloadError as reason:
        near = nearest_known(hub_id)
        if near is None:
            raise
        raise DownloadError(f"{reason} Did you mean {near!r}?") from reason.__cause__


def _hint(text: str) -> str:
    near = nearest_known(text)
    if near is not None:
        return f"; did you mean {near!r}?"
    hint = did_you_mean(text, EMBEDDED)
    return hint or "; `qwen3cpu list` shows the names"
