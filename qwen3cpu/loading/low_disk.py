"""Opens a model for `pack(..., low_disk=True)`, which deletes each weight file once it is packed."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from qwen3cpu.checkpoint.hub import has_safetensors
from qwen3cpu.checkpoint.hub_files import fetch_file, find_model
from qwen3cpu.checkpoint.hub_gguf import HubName
from qwen3cpu.checkpoint.readers.low_disk import FilesHere, FilesOnHub, LowDiskFolder, Shown
from qwen3cpu.checkpoint.readers.registry import open_folder
from qwen3cpu.checkpoint.readers.tensor_files import WeightFiles
from qwen3cpu.checkpoint.weight_source import OpenedModel
from qwen3cpu.errors import ArgumentError, Qwen3CpuError
from qwen3cpu.loading.locate import EMBEDDED, Located, locate_here, name_on_hub

_logger = logging.getLogger("qwen3cpu")


class Leaving(NamedTuple):
    """A model whose weight files are deleted. name: as the user gave it. weights: those of `opened`."""

    name: str
    opened: OpenedModel
    weights: LowDiskFolder


@contextmanager
def opened_to_leave(source: str | os.PathLike[str], out: Path, shown: Shown) -> Iterator[Leaving]:
    """Open a local folder, or a model on the hub, while it is packed into the file `out`.

    shown: as FilesOnHub takes it. When the block fails, the error lists which of the user's files were deleted. Raises
    ArgumentError for a source without weight files in a folder, OSError, and others as `locate` and the readers.
    """
    here = locate_here(source)
    if here is None:
        with _fetched(name_on_hub(source), out, shown) as leaving:
            yield leaving
        return
    leaving = _open(here.name, _checked(here), FilesHere())
    try:
        yield leaving
    except BaseException as reason:
        if leaving.weights.deleted:
            names = ", ".join(leaving.weights.deleted)
            gone = f"{here.path} has lost {names}; restore all files of the model before you pack it again"
            if isinstance(reason, Qwen3CpuError):
                reason.args = (f"{reason}; {gone}",)
            elif isinstance(reason, OSError):
                reason.strerror = f"{reason.strerror or reason}; {gone}"
            else:
                _logger.warning("%s", gone)
        raise


def _checked(here: Located) -> Path:
    """Return a model's folder. Raises ArgumentError unless it is a folder of the user's, and writable."""
    if here.name in EMBEDDED:
        raise ArgumentError(f"low_disk: expected a model folder or a hub id, found {here.name} of the package")
    if not here.path.is_dir():
        raise ArgumentError(f"low_disk: expected a model folder or a hub id, found the file {here.path}")
    if not os.access(here.path, os.W_OK):
        raise ArgumentError(f"low_disk: expected a folder whose files can be deleted, found {here.path}")
    return here.path


@contextmanager
def _fetched(name: HubName, out: Path, shown: Shown) -> Iterator[Leaving]:
    """Open a model on the hub. Fetched files lie beside `out` and are deleted at the end, also after an error."""
    if name.choice is not None:
        raise ArgumentError(f"low_disk: expected a model in safetensors, found {name.repo}:{name.choice} in GGUF")
    model = find_model(name.repo)
    if not has_safetensors(file.name for file in model.files):
        raise ArgumentError(f"low_disk: expected a model in safetensors, found none in {name.repo}")
    with tempfile.TemporaryDirectory(prefix=f"{out.name}.", suffix=".shards", dir=out.parent) as made, _without_bars():
        folder = Path(made) / model.commit  # as in the hub's cache: the folder's name may tell what the model is for
        for file in model.files:
            if not has_safetensors([file.name]):
                fetch_file(model, file, folder, lambda size: None)
        yield _open(name.repo, folder, FilesOnHub(model, folder, shown))


def _open(name: str, folder: Path, files: WeightFiles) -> Leaving:
    opened = open_folder(folder, partial(LowDiskFolder, files=files))
    assert isinstance(opened.weights, LowDiskFolder)
    return Leaving(name, opened, opened.weights)


@contextmanager
def _without_bars() -> Iterator[None]:
    """Switch off the progress bars of the hub's library, which would be drawn over ours."""
    from huggingface_hub import utils

    name = "huggingface_hub.http_get"
    if utils.are_progress_bars_disabled(name):  # type: ignore[attr-defined, unused-ignore]
        yield
        return
    utils.disable_progress_bars(name)  # type: ignore[attr-defined, unused-ignore]
    try:
        yield
    finally:
        utils.enable_progress_bars(name)  # type: ignore[attr-defined, unused-ignore]
