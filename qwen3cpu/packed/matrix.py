"""Packed matrices: format and shape alone (MatrixLayout), or with the bytes (PackedMatrix)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.tensors import KEEPING, format_of_groups, tensors_of
from qwen3cpu.checkpoint.weight_source import WeightSource, kept_group
from qwen3cpu.packed.sealed_file import PAGE
from qwen3cpu.system.free_memory import available_memory
from qwen3cpu.system.memory import anonymous_bytes, bytes_on_disk


class PackedMatrix(NamedTuple):
    """A matrix [rows, cols] in a weight format. `_native.Model` takes a dict of these.

    data: uint8 [layout.bytes], aligned to 64 bytes.
    """

    format: str
    rows: int
    cols: int
    data: NDArray[np.uint8]

    @property
    def layout(self) -> MatrixLayout:
        """Format and shape."""
        return MatrixLayout(self.format, self.rows, self.cols)


@dataclass(frozen=True)
class MatrixLayout:
    """Weight format and shape of a packed matrix."""

    format: str
    rows: int
    cols: int

    @property
    def bytes(self) -> int:
        """Bytes of the packed matrix, without the padding to a whole page."""
        return _native.matrix_bytes(self.format, self.rows, self.cols)

    @property
    def pages(self) -> int:
        """Pages of the matrix in a file."""
        return -(-self.bytes // PAGE)

    def room(self) -> NDArray[np.uint8]:
        """Allocate memory for the matrix: uint8 [bytes], zeroed and page-aligned."""
        return anonymous_bytes(self.pages * PAGE)[: self.bytes]

    def with_data(self, data: NDArray[np.uint8]) -> PackedMatrix:
        """Return the matrix with the packed bytes `data`, uint8 [bytes]."""
        return PackedMatrix(self.format, self.rows, self.cols, data)


Pack = Callable[[str, MatrixLayout, NDArray[np.uint8]], None]
"""pack(name, layout, out) packs a matrix into out, uint8 [layout.bytes]."""


def plan_matrices(config: ModelConfig, quant: str, weights: WeightSource | None = None) -> dict[str, MatrixLayout]:
    """Return name -> layout of every matrix of a model packed as `quant`, in the order of the forward pass.

    weights: the weights to pack. If they have groups and `quant` is a format that keeps groups, every matrix gets the
    format that keeps its own groups, and matrices without groups get 8 bits. Routers are never rounded.
    """
    tensors = [tensor for tensor in tensors_of(config) if tensor.is_matrix]
    formats = {tensor.name: tensor.format(quant, config) for tensor in tensors}
    if weights is not None and quant in KEEPING.values():
        groups = {tensor.name: kept_group(weights, tensor.name) for tensor in tensors}
        if any(groups.values()):
            formats |= {
                tensor.name: format_of_groups(groups[tensor.name]) for tensor in tensors if tensor.row.role != "router"
            }
    return {tensor.name: MatrixLayout(formats[tensor.name], *tensor.shape) for tensor in tensors}


def all_rooms(plan: dict[str, MatrixLayout], spill: Path | None = None) -> dict[str, PackedMatrix]:
    """Allocate one zeroed block of memory for all matrices of a plan. Each matrix begins on a page.

    spill: a folder for a file to use instead of memory that is too small. Raises OSError when its disk is too small.
    """
    size = sum(layout.pages for layout in plan.values()) * PAGE
    left = available_memory() if spill is not None else None
    if spill is not None and left is not None and left.bytes < size:
        block = bytes_on_disk(size, spill)
    else:
        block = anonymous_bytes(size)
    matrices, offset = {}, 0
    for name, layout in plan.items():
        matrices[name] = layout.with_data(block[offset : offset + layout.bytes])
        offset += layout.pages * PAGE
    return matrices
