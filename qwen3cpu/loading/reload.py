"""How a model was loaded, so that it can be loaded again, in another process too: that is what a model pickles as."""

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
        """What `__reduce__` returns. Paths are absolute, for another process may run in another folder.

        Args:
            model: must be the same model when it is loaded again.
            adapters: that it has by now, with their paths.
        """
        arguments = portable({**self._arguments, "adapters": adapters})
        if arguments["rope_scaling"] is not None:
            arguments["rope_scaling"] = dict(arguments["rope_scaling"])
        return load_again, (self._load, arguments, model.fingerprint)


def load_again(load: Callable[..., DescribedModel], arguments: Mapping[str, Any], fingerprint: str) -> DescribedModel:
    """The model of a pickle. CheckpointError when its source holds another model by now."""
    model = load(**arguments)
    if model.fingerprint != fingerprint:
        raise CheckpointError(
            f"{model.source}: expected the checkpoint that the model was loaded from when it was pickled, found another"
        )
    return model


def portable(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `load` with absolute paths, which hold in a process that runs in another folder."""
    found = dict(arguments)
    for name in ("source", "draft", "drafts_from"):
        if found.get(name) is not None:
            found[name] = _absolute(found[name])
    if found.get("adapters") is not None:
        found["adapters"] = {name: _absolute(path) for name, path in found["adapters"].items()}
    return found


def _absolute(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The absolute path of what exists here; a hub id, or the name of a model inside the package, as it is."""
    expanded = os.path.expanduser(os.fsdecode(path))
    return os.path.abspath(expanded) if path not in EMBEDDED and os.path.exists(expanded) else path
