"""Packs the weights of a model, into memory or into a packed file."""

from __future__ import annotations

import errno
import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.low_disk import LowDiskFolder
from qwen3cpu.checkpoint.tensors import EMBEDDING, NARROW, WIDE, logits_matrix
from qwen3cpu.checkpoint.weight_source import WeightSource, original_matrix, read_vectors
from qwen3cpu.packed.matrix import MatrixLayout, Pack, PackedMatrix, all_rooms, plan_matrices
from qwen3cpu.packed.packed_file import Origin
from qwen3cpu.packed.sealed_file import PAGE
from qwen3cpu.quantization.pack_matrix import pack_matrix
from qwen3cpu.quantization.recipe import Recipe
from qwen3cpu.system.progress_bar import Progress
from qwen3cpu.text.tokenizer import Tokenizer


def packer(weights: WeightSource, config: ModelConfig, quant: str, *, threads: int, progress: Progress) -> Pack:
    """Return the function that packs a model's matrices. Call it for every matrix in the order of the forward pass."""
    if quant == NARROW:
        # Imported here because most loads find the weights packed.
        from qwen3cpu.quantization.quick_q4 import QuickPacker

        return QuickPacker(weights, config, threads=threads, progress=progress).pack
    return partial(pack_matrix, weights, threads=threads, progress=progress)


def pack_in_memory(
    weights: WeightSource, texts: ModelTexts, quant: str, *, threads: int, progress: Progress, spill: Path | None = None
) -> dict[str, PackedMatrix]:
    """Pack every matrix into one block of anonymous memory, or into a file in `spill` (see `all_rooms`)."""
    packed = all_rooms(plan_matrices(texts.config, quant, weights), spill)
    pack = packer(weights, texts.config, quant, threads=threads, progress=progress)
    progress.start("Packing", weights.stored_bytes, "B")
    for name, matrix in packed.items():
        pack(name, matrix.layout, matrix.data)
    return packed


def pack_to_file(
    path: Path,
    weights: WeightSource,
    texts: ModelTexts,
    quant: str,
    *,
    name: str,
    threads: int,
    progress: Progress,
) -> None:
    """Pack a model into the packed file `path`, which is replaced atomically.

    name: of the source, as the user gave it. Raises OSError, and CheckpointError for a weight that is not finite or a
    file that cannot be read.
    """
    # Imported here because only writing needs them, and the first imports thread pools.
    from qwen3cpu.packed.checksums import SumsOfFiles
    from qwen3cpu.packed.packed_writer import write_packed

    progress.start("Packing", weights.stored_bytes, "B")
    files = weights.files()
    origin = Origin(name, weights.fingerprint(), dict.fromkeys(files, "0" * 64))
    with SumsOfFiles(files) as sums:
        plan = plan_matrices(texts.config, quant, weights)
        pack = packer(weights, texts.config, quant, threads=threads, progress=progress)
        write_packed(path, texts, quant, origin, plan, pack, read_vectors(weights).__getitem__, sums.result)


def pack_and_delete(
    path: Path,
    weights: LowDiskFolder,
    texts: ModelTexts,
    quant: str,
    *,
    name: str,
    threads: int,
    progress: Progress,
) -> None:
    """Pack as `pack_to_file` does, into the same bytes, and delete each weight file once it is packed.

    If the disk is too small, raises OSError with errno ENOSPC before any file is deleted.
    """
    from qwen3cpu.packed.packed_writer import write_packed

    plan = plan_matrices(texts.config, quant, weights)
    sizes = {tensor: layout.pages * PAGE for tensor, layout in plan.items()}
    needed, free = weights.disk_needed(sizes, path.parent), shutil.disk_usage(path.parent).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed / 1e9:.1f} GB needed on its disk, {free / 1e9:.1f} GB free")
    pack = packer(weights, texts.config, quant, threads=threads, progress=progress)

    def take(tensor: str, layout: MatrixLayout, out: NDArray[np.uint8]) -> None:
        pack(tensor, layout, out)
        weights.done(tensor)

    progress.start("Packing", weights.stored_bytes, "B")
    origin = Origin(name, weights.fingerprint(), dict.fromkeys(weights.files(), "0" * 64))
    write_packed(path, texts, quant, origin, plan, take, weights.vector, weights.finish)


def calibrate_to_file(
    path: Path, weights: WeightSource, texts: ModelTexts, recipe: Recipe, *, name: str, threads: int, progress: Progress
) -> None:
    """Pack a model in q4, rounded with regard to a text: the recipe's, or one that the model writes.

    The file gets a report (calibration_report.py). Arguments and errors as for `pack_to_file`.
    """
    # Imported here because they are rarely needed, and the first imports thread pools.
    from qwen3cpu.packed.checksums import SumsOfFiles
    from qwen3cpu.packed.packed_writer import write_packed
    from qwen3cpu.quantization.calibrate import calibrate
    from qwen3cpu.quantization.calibration_report import describe
    from qwen3cpu.quantization.calibration_source import Source

    with tempfile.TemporaryFile(dir=path.parent):
        pass  # fails before minutes of work if the folder is not writable
    tokenizer = Tokenizer(texts.tokenizer_json, texts.tokenizer_config, source=name)
    files = weights.files()
    origin = Origin(name, weights.fingerprint(), dict.fromkeys(files, "0" * 64))
    with SumsOfFiles(files) as sums:
        source = Source(
            config=texts.config,
            matrices=pack_in_memory(weights, texts, WIDE, threads=threads, progress=progress, spill=path.parent),
            vectors=read_vectors(weights),
            token_limit=min(tokenizer.size, texts.config.vocab_size),
            original=partial(original_matrix, weights),
            encode=tokenizer.encode,
            end=tokenizer.endoftext if texts.purpose.task == "embedding" else None,
        )
        calibrated = calibrate(source, recipe, threads=threads, progress=progress)

        head = logits_matrix(texts.config)
        at_hand = {EMBEDDING: source.matrices[EMBEDDING]}

        def take(tensor: str, layout: MatrixLayout, out: NDArray[np.uint8]) -> None:
            nonlocal at_hand
            if tensor == head:
                pack_matrix(weights, tensor, layout, out, threads=threads, progress=None)
                return
            if tensor not in at_hand:
                at_hand = next(calibrated.layers)
            out[:] = at_hand[tensor].data

        notes = {"calibration": describe(recipe, calibrated.costs)}
        write_packed(path, texts, NARROW, origin, calibrated.plan, take, source.vectors.__getitem__, sums.result, notes)
