"""Packs one matrix into a weight format, piece by piece; `_native.pack_into` does the arithmetic."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.checkpoint.tensors import KEEPING
from qwen3cpu.checkpoint.weight_source import GroupSource, WeightSource, kept_group
from qwen3cpu.errors import CheckpointError, EngineError
from qwen3cpu.packed.matrix import MatrixLayout
from qwen3cpu.system.progress_bar import Progress

_CHUNK_BYTES: Final = 16 << 20
"""Bytes of source weights packed at once. They limit the memory beside the packed weights and the delay of Ctrl-C."""


def pack_matrix(
    weights: WeightSource,
    name: str,
    layout: MatrixLayout,
    out: NDArray[np.uint8],
    *,
    threads: int,
    progress: Progress | None,
) -> None:
    """Pack one matrix into out, uint8 [layout.bytes], a run of rows at a time.

    Groups of sixteen levels are copied unchanged if the format keeps them. Raises CheckpointError, which names tensor,
    row and column, for a weight that is not finite.
    """
    weights.will_need(name)
    columns = kept_group(weights, name) if layout.format in KEEPING.values() else None
    row_bytes = weights.rows(name, 0, 1).nbytes
    step = max(_CHUNK_BYTES // row_bytes // _native.TILE_ROWS, 1) * _native.TILE_ROWS
    for first in range(0, layout.rows, step):
        last = min(first + step, layout.rows)
        try:
            if columns is not None and isinstance(weights, GroupSource):
                groups = weights.groups(name, first, last)
                _native.write_affine_into(layout.format, *groups, columns, out, layout.rows, first, threads)
                del groups
            else:
                chunk = weights.rows(name, first, last)
                _native.pack_into(layout.format, chunk, out, layout.rows, first, threads)
                del chunk
        except EngineError as reason:
            raise CheckpointError(f"{weights.path}: tensor {name}: {reason}") from reason
        if progress is not None:
            progress.advance(row_bytes * (last - first))
        weights.drop_rows(name, first, last)
