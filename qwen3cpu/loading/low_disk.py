"""Opens a model for `pack(..., low_disk=True)`: its weight files leave the disk as they are packed."""

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
    """A model whose files leave. name: as the user gave it. weights: those of `opened`."""

    name: str
    opened: OpenedModel
    weights: LowDiskFolder


@contextmanager
def opened_to_leave(source: str | os.PathLike[str], out: Path, shown: Shown) -> Iterator[Leaving]:
    """A folder here, or a model on the hub, for the time of packing it into the file `out`.

    shown: as FilesOnHub takes it. An error of the block says which of the user's files are gone. Raises ArgumentError
    for a source that has no weights in files of a folder, OSError of the file system, others as `locate` and readers.
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
            gone = f"packing has to begin anew with all files of the model, of which {here.path} has lost {names}"
            if isinstance(reason, Qwen3CpuError):
                reason.args = (f"{reason}; {gone}",)
            elif isinstance(reason, OSError):
                reason.strerror = f"{reason.strerror or reason}; {gone}"
            else:
                _logger.warning("%s", gone)
        raise


def _checked(here: Located) -> Path:
    """The folder of a model. Raises ArgumentError for what is no folder of the user's."""
    if here.name in EMBEDDED:
        raise ArgumentError(f"low_disk: expected a model folder or a hub id, found {here.name} of the package")
    if not here.path.is_dir():
        raise ArgumentError(f"low_disk: expected a model folder or a hub id, found the file {here.path}")
    if not os.access(here.path, os.W_OK):
        raise ArgumentError(f"low_disk: expected a folder whose files can be deleted, found {here.path}")
    return here.path


@contextmanager
def _fetched(name: HubName, out: Path, shown: Shown) -> Iterator[Leaving]:
    """A model on the hub. What is fetched lies beside `out` and is gone at the end, however that comes."""
    if name.choice is not None:
        raise ArgumentError(f"low_disk: expected a model in safetensors, found {name.repo}:{name.choice} in GGUF")
    model = find_model(name.repo)
    if not has_safetensors(file.name for file in model.files):
        raise ArgumentError(f"low_disk: expected a model in safetensors, found none in {name.repo}")
    with tempfile.TemporaryDirectory(prefix=f"{out.name}.", suffix=".shards", dir=out.parent) as made, _without_bars():
        folder = Path(made) / model.commit  # as in the hub's cache: a folder's name may say what a model is for
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
    """Without the bars of the hub's library, which would be drawn over ours."""
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
