"""Pickles a model as the call that loaded it, so that another process can load it again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from qwen3cpu.errors import CheckpointError
from qwen3cpu.loading.described_model import DescribedModel
from qwen3cpu.loading.locate import EMBEDDED


class Reload:
    """The call of `load` that made a model.

    Args:
        load: the function.
        given: its arguments. The progress bar is left out: it belongs to one process and one call.
    """

    def __init__(self, load: Callable[..., DescribedModel], given: Mapping[str, Any]) -> None:
        self._load = load
        self._arguments = {name: value for name, value in given.items() if name != "progress"}

    def reduced(self, model: DescribedModel, adapters: Mapping[str, str]) -> tuple[Any, ...]:
        """Return what `__reduce__` returns. Paths are absolute because another process may run in another folder.

        Args:
            model: the model that was loaded. Its fingerprint is compared when it is loaded again.
            adapters: name -> path, of all adapters that it has.
        """
        return load_again, (self._load, {**self.arguments(), **portable({"adapters": adapters})}, model.fingerprint)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments, with absolute paths."""
        arguments = portable(self._arguments)
        if arguments["rope_scaling"] is not None:
            arguments["rope_scaling"] = dict(arguments["rope_scaling"])
        return arguments


def load_again(load: Callable[..., DescribedModel], arguments: Mapping[str, Any], fingerprint: str) -> DescribedModel:
    """Load the model of a pickle. Raises CheckpointError when its source holds another model."""
    model = load(**arguments)
    if model.fingerprint != fingerprint:
        raise CheckpointError(
            f"{model.source}: expected the checkpoint that the model was loaded from when it was pickled, found another"
        )
    return model


def portable(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of `load` with absolute paths, which are right in any working directory."""
    found = dict(arguments)
    for name in ("source", "draft", "drafts_from"):
        if found.get(name) is not None:
            found[name] = _absolute(found[name])
    if found.get("adapters") is not None:
        found["adapters"] = {name: _absolute(path) for name, path in found["adapters"].items()}
    return found


def _absolute(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return the absolute path of what exists here; a hub id, or a model inside the package, stays unchanged."""
    expanded = os.path.expanduser(os.fsdecode(path))
    return os.path.abspath(expanded) if path not in EMBEDDED and os.path.exists(expanded) else path
