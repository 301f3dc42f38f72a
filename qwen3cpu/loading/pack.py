"""`qwen3cpu.pack`: packs a model into one file, with or without calibration."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from qwen3cpu.arguments import LOADING, check_flag, named_arguments, shown
from qwen3cpu.checkpoint.input_files import start_of
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.purpose import Task, check_task
from qwen3cpu.checkpoint.tensors import NARROW, Quant, check_quant
from qwen3cpu.checkpoint.weight_source import OpenedModel
from qwen3cpu.errors import ArgumentError
from qwen3cpu.loading.locate import locate
from qwen3cpu.loading.low_disk import opened_to_leave
from qwen3cpu.loading.sources import may_be_packed, open_unpacked
from qwen3cpu.packed.packed_file import is_packed
from qwen3cpu.packed.sealed_file import PAGE
from qwen3cpu.quantization.pack_model import calibrate_to_file, pack_and_delete, pack_to_file
from qwen3cpu.quantization.recipe import Recipe, check_recipe
from qwen3cpu.system.paths import checked_path
from qwen3cpu.system.progress_bar import Progress, check_progress
from qwen3cpu.system.thread_count import resolve_threads


@named_arguments({"qwen3cpu.load": LOADING})
def pack(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    quant: Quant | None = None,
    *,
    calibrate: bool | Recipe = False,
    low_disk: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
    task: Task | None = None,
) -> tuple[int, int]:
    """Pack a model into one file, which `load` can map here or on another machine.

    Args:
        source: as for `load`, but not a packed file.
        path: the file, by custom with the suffix `.qwen3`. An existing packed file is replaced once everything is
            written.
        quant: one of QUANTS. Default: for a quantised folder or GGUF file, the format that keeps its levels; otherwise
            "q4".
        calibrate: round to q4 with regard to text that the model writes, and keep the matrices that gain most in q8.
            This takes minutes and loses less quality. A `qwen3cpu.Recipe` sets the details. `quant` must be "q4" or
            None.
        low_disk: delete each weight file of the source once it is packed, also when packing fails later. The files of a
            hub id are fetched one by one beside `path`; those in the hub's cache stay. It cannot be combined with
            `calibrate`, which needs all weights at once.
        threads: as for `load`.
        progress: a bar to use instead of a new one.
        task: as for `load`. It is stored in the file.

    Returns:
        Bytes of the weight matrices in the source, and bytes of the file.

    Raises:
        ArgumentError: an unknown quant or task, or a task that the model was not made for. With `calibrate`, another
            quant than "q4" or an invalid recipe. A path that is not a packed file or cannot be written. With
            `low_disk`, a source whose weights are not files of a folder, or a disk that is too small.
        CheckpointError, ConfigError, DownloadError: as for `load`.
    """
    recipe = _checked_recipe(calibrate, quant)
    if low_disk is True and recipe is not None:
        raise ArgumentError("low_disk: cannot be combined with calibrate, which needs all weights at once")
    quant = NARROW if recipe is not None else quant
    if quant is not None:
        check_quant(quant)
    check_task(task)
    threads = resolve_threads(threads)
    check_flag("low_disk", low_disk)
    check_progress(progress)
    out = checked_path("path", path)
    if os.path.exists(out):
        _check_replaceable(out)
    shown = nullcontext(progress) if progress is not None else Progress("Packing", None)
    try:
        if low_disk:
            with shown as bar, opened_to_leave(source, out, bar.beside) as (name, opened, leaving):
                texts, chosen = _texts(opened, task, name), quant or opened.preferred_quant
                pack_and_delete(out, leaving, texts, chosen, name=name, threads=threads, progress=bar)
            return leaving.stored_bytes, out.stat().st_size
        name, _, found = locate(source)
        if may_be_packed(found):
            raise ArgumentError(f"source: expected a model folder, a GGUF file or a hub id, found the file {found}")
        opened = open_unpacked(found)
        weights, texts, chosen = opened.weights, _texts(opened, task, name), quant or opened.preferred_quant
        with shown as bar:
            if recipe is not None:
                calibrate_to_file(out, weights, texts, recipe, name=name, threads=threads, progress=bar)
            else:
                pack_to_file(out, weights, texts, chosen, name=name, threads=threads, progress=bar)
        return weights.stored_bytes, out.stat().st_size
    except OSError as reason:
        raise ArgumentError(f"path: {out} cannot be written: {reason.strerror or reason}") from reason


def _texts(opened: OpenedModel, task: Task | None, name: str) -> ModelTexts:
    """Read all but the weights, for the task that the user chose."""
    texts = opened.read_texts()
    return replace(texts, purpose=texts.purpose.chosen(task, name))


def _checked_recipe(calibrate: bool | Recipe, quant: str | None) -> Recipe | None:
    """Return the recipe to follow; None: do not calibrate."""
    if calibrate is False:
        return None
    if calibrate is not True and not isinstance(calibrate, Recipe):
        raise ArgumentError(f"calibrate: expected True, False or a Recipe, found {shown(calibrate)}")
    if quant not in (None, NARROW):
        raise ArgumentError(f"calibrate: rounds to {NARROW!r} only, found quant {quant!r}")
    recipe = Recipe() if calibrate is True else calibrate
    check_recipe(recipe)
    return recipe


def _check_replaceable(path: Path) -> None:
    """Raise ArgumentError unless a path is a packed file of any version."""
    if is_packed(start_of(path, PAGE)):
        return
    raise ArgumentError(f"path: expected no file or a packed one to replace, found something else at {path}")
