"""Packing the weights of a model: into memory or into a packed file. The arithmetic is `_native.pack_into`'s."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.hf_folder import ModelTexts
from qwen3cpu.checkpoint.weight_source import WeightSource, original_matrix, read_vectors
from qwen3cpu.packed.packed_file import Origin, PackedMatrix, plan_matrices, write_packed
from qwen3cpu.packed.sealed_file import PAGE
from qwen3cpu.quantization.pack_matrix import pack_matrix
from qwen3cpu.quantization.recipe import Recipe
from qwen3cpu.system.memory import anonymous_bytes
from qwen3cpu.system.progress_bar import Progress
from qwen3cpu.text.tokenizer import Tokenizer

Pack = Callable[[str, PackedMatrix, NDArray[np.uint8]], None]
"""pack(name, matrix, out) packs a matrix into out, uint8 [matrix.bytes]."""


def packer(weights: WeightSource, config: ModelConfig, quant: str, *, threads: int, progress: Progress) -> Pack:
    """What packs the matrices of a model, one after the other in the order of the forward pass."""
    if quant == "q4":
        # Imported here: most loads find the weights packed.
        from qwen3cpu.quantization.quick_q4 import QuickPacker

        return QuickPacker(weights, config, threads=threads, progress=progress).pack
    return partial(pack_matrix, weights, threads=threads, progress=progress)


def pack_in_memory(
    weights: WeightSource, texts: ModelTexts, quant: str, *, threads: int, progress: Progress
) -> dict[str, tuple[str, int, int, NDArray[np.uint8]]]:
    """Pack every matrix into one block of anonymous memory: name -> (format, rows, cols, bytes)."""
    plan = plan_matrices(texts.config, quant)
    block = anonymous_bytes(sum(matrix.pages for matrix in plan.values()) * PAGE)
    packed = {}
    offset = 0
    pack = packer(weights, texts.config, quant, threads=threads, progress=progress)
    progress.start("Packing", weights.stored_bytes, "B")
    for name, matrix in plan.items():
        out = block[offset : offset + matrix.bytes]
        pack(name, matrix, out)
        packed[name] = (matrix.format, matrix.rows, matrix.cols, out)
        offset += matrix.pages * PAGE
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
    """Pack a model folder into the packed file `path`, replacing it whole. Raises OSError of the file system.

    name: of the source, as the user gave it.
    """
    # Imported here: it brings in thread pools, and only writing needs it.
    from qwen3cpu.packed.checksums import SumsOfFiles

    progress.start("Packing", weights.stored_bytes, "B")
    files = weights.files()
    origin = Origin(name, weights.fingerprint(), dict.fromkeys(files, "0" * 64))
    with SumsOfFiles(files) as sums:
        plan = plan_matrices(texts.config, quant)
        pack = packer(weights, texts.config, quant, threads=threads, progress=progress)
        write_packed(path, texts, quant, origin, plan, pack, read_vectors(weights), sums.result)


def calibrate_to_file(
    path: Path, weights: WeightSource, texts: ModelTexts, recipe: Recipe, *, name: str, threads: int, progress: Progress
) -> None:
    """Pack a model folder in q4, rounded by the text that it writes itself, as `pack_to_file` does without.

    The file tells how (calibration/report.py).
    """
    # Imported here: rarely needed, and the second brings in thread pools.
    from qwen3cpu.packed.checksums import SumsOfFiles
    from qwen3cpu.quantization.calibrate import Source, calibrate
    from qwen3cpu.quantization.calibration_report import describe

    with tempfile.TemporaryFile(dir=path.parent):
        pass  # a folder that cannot be written to is found now rather than after minutes of work
    tokenizer = Tokenizer(texts.tokenizer_json, texts.tokenizer_config, source=f"{name}: tokenizer.json")
    files = weights.files()
    origin = Origin(name, weights.fingerprint(), dict.fromkeys(files, "0" * 64))
    with SumsOfFiles(files) as sums:
        source = Source(
            config=texts.config,
            matrices=pack_in_memory(weights, texts, "q8", threads=threads, progress=progress),
            vectors=read_vectors(weights),
            token_limit=min(tokenizer.size, texts.config.vocab_size),
            original=partial(original_matrix, weights),
        )
        calibrated = calibrate(source, recipe, threads=threads, progress=progress)

        def take(tensor: str, matrix: PackedMatrix, out: NDArray[np.uint8]) -> None:
            out[:] = calibrated.matrices[tensor][3]

        notes = {"calibration": describe(recipe, calibrated.costs)}
        write_packed(path, texts, "q4", origin, calibrated.plan(), take, source.vectors, sums.result, notes)
