"""Checks by name whether an adapter was trained on the model that it will change."""

from __future__ import annotations

import re
from typing import Final

from qwen3cpu.checkpoint.adapters.contents import AdapterContents
from qwen3cpu.checkpoint.known_models import KnownModel, find_known
from qwen3cpu.errors import AdapterError

_COPIES: Final = re.compile(r"(-unsloth)?(-bnb-4bit)?$", re.IGNORECASE)
"""Suffixes in the names of other people's copies of a released model."""


def check_base(contents: AdapterContents, *names: str) -> None:
    """Refuse an adapter of another released model, which may have the same shape.

    Names that are not those of released models are ignored, because a folder may have any name.

    Args:
        contents: the adapter.
        names: names of the model: a hub id or a path, and the source that it was packed from.

    Raises:
        AdapterError: the adapter was trained on one released model, and the names are those of another.
    """
    trained_on = None if contents.made_for is None else _released(contents.made_for)
    model = next(filter(None, map(_released, names)), None)
    if trained_on is not None and model is not None and trained_on.name != model.name:
        raise AdapterError(
            f"{contents.path}: expected an adapter of {model.hub_id}, found one of {trained_on.hub_id} "
            f"(base_model_name_or_path: {contents.made_for})"
        )


def _released(name: str) -> KnownModel | None:
    """Return the released model that a hub id or the last part of a path stands for."""
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    found = find_known(_COPIES.sub("", last.removesuffix(".qwen3")))
    return None if found is None else found.model
