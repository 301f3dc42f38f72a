"""Packing the weights of a model: into memory or into a packed file. The arithmetic is `_native.pack_into`'s."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.calibration.recipe import Recipe
from qwen3cpu.config import ModelConfig
from qwen3cpu.errors import CheckpointError, EngineError
from qwen3cpu.hf_folder import ModelTexts
from qwen3cpu.memory import anonymous_bytes
from qwen3cpu.packed import Origin, PackedMatrix, plan_matrices, write_packed
from qwen3cpu.progress import Progress
from qwen3cpu.sealed import PAGE
from qwen3cpu.stored_values import as_float32
from qwen3cpu.tokenizer import Tokenizer

_CHUNK_BYTES: Final = 16 << 20  # of source weights: what is mapped beside the packed weights, and how soon Ctrl-C works
_TILE_ROWS: Final = 8


class WeightSource(Protocol):
    """Weights that can be packed: FolderWeights (hf_folder.py), which says what is what, or GgufWeights."""

    folder: Path
    matrices: dict[str, tuple[int, int]]
    vectors: dict[str, int]
    stored_bytes: int

    def rows(self, name: str, first: int, last: int) -> NDArray[Any]: ...
    def drop_rows(self, name: str, first: int, last: int) -> None: ...
    def will_need(self, name: str) -> None: ...
    def vector(self, name: str) -> NDArray[np.float32]: ...
    def files(self) -> dict[str, Path]: ...
    def fingerprint(self) -> str: ...


def pack_matrix(
    weights: WeightSource,
    name: str,
    matrix: PackedMatrix,
    out: NDArray[np.uint8],
    *,
    threads: int,
    progress: Progress | None,
) -> None:
    """Pack one matrix into out, uint8 [matrix.bytes], a run of rows at a time.

    Raises CheckpointError naming the tensor, row and column of a weight that is not finite.
    """
    weights.will_need(name)
    row_bytes = weights.rows(name, 0, 1).nbytes
    step = max(_CHUNK_BYTES // row_bytes // _TILE_ROWS, 1) * _TILE_ROWS
    for first in range(0, matrix.rows, step):
        last = min(first + step, matrix.rows)
        chunk = weights.rows(name, first, last)
        try:
            _native.pack_into(matrix.format, chunk, out, matrix.rows, first, threads)
        except EngineError as reason:
            raise CheckpointError(f"{weights.folder}: tensor {name}: {reason}") from reason
        if progress is not None:
            progress.advance(chunk.nbytes)
        del chunk
        weights.drop_rows(name, first, last)


Pack = Callable[[str, PackedMatrix, NDArray[np.uint8]], None]
"""pack(name, matrix, out) packs a matrix into out, uint8 [matrix.bytes]."""


def packer(weights: WeightSource, config: ModelConfig, quant: str, *, threads: int, progress: Progress) -> Pack:
    """What packs the matrices of a model, one after the other in the order of the forward pass."""
    if quant == "q4":
        # Imported here: most loads find the weights packed.
        from qwen3cpu.calibration.quick import QuickPacker

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


def read_vectors(weights: WeightSource) -> dict[str, NDArray[np.float32]]:
    """Every norm weight and bias of the model, float32."""
    return {name: weights.vector(name) for name in weights.vectors}


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
    from qwen3cpu.sums import SumsOfFiles

    progress.start("Packing", weights.stored_bytes, "B")
    files = weights.files()
    origin = Origin(name, weights.fingerprint(), dict.fromkeys(files, "0" * 64))
    with SumsOfFiles(files) as sums:
        plan = plan_matrices(texts.config, quant)
        pack = packer(weights, texts.config, quant, threads=threads, progress=progress)
        write_packed(path, texts, quant, origin, plan, pack, read_vectors(weights), sums.result)


def original_matrix(weights: WeightSource, name: str, first: int = 0, last: int | None = None) -> NDArray[np.float32]:
    """A matrix [rows, cols] as it is stored, or its rows [first, last), in float32."""
    return as_float32(weights.rows(name, first, weights.matrices[name][0] if last is None else last))


def calibrate_to_file(
    path: Path, weights: WeightSource, texts: ModelTexts, recipe: Recipe, *, name: str, threads: int, progress: Progress
) -> None:
    """Pack a model folder in q4, rounded by the text that it writes itself, as `pack_to_file` does without.

    The file tells how (calibration/report.py).
    """
    # Imported here: rarely needed, and the second brings in thread pools.
    from qwen3cpu.calibration.report import describe
    from qwen3cpu.calibration.run import Source, calibrate
    from qwen3cpu.sums import SumsOfFiles

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
