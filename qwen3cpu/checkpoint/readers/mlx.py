"""Reads folders of MLX (`quantization` in config.json): `weight`, `scales` and, in the affine mode, `biases`.

Rows follow one another, each a run of bits in uint32 words. `mlx.core.dequantize` computes in the dtype of the scales
and rounds after each step: `scale * n`, then `+ bias`. In the modes mxfp4 and mxfp8 a scale is a power of two. A weight
is the product in bfloat16, which is exact. The experts of a layer are one tensor (stacked_experts.py).
"""

from __future__ import annotations

from pathlib import Path
from types import NoneType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.json_fields import Fields
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.number_formats import E2M1, E4M3, E8M0, rounded
from qwen3cpu.checkpoint.readers.options import inner_fields, must_be, quantization_fields, refuse_unknown
from qwen3cpu.checkpoint.readers.quantized_folder import Part, QuantizedFolder, StoredMatrix
from qwen3cpu.checkpoint.readers.row_groups import packed_rows, words_of
from qwen3cpu.checkpoint.readers.tensor_files import FLOATS, TensorFiles
from qwen3cpu.checkpoint.stacked_experts import stack_of
from qwen3cpu.checkpoint.weight_source import Groups
from qwen3cpu.errors import CheckpointError

KEY: Final = "quantization"
_AFFINE: Final = "affine"
_FLOATS: Final = {"mxfp4": E2M1, "mxfp8": E4M3}
"""Mode -> value of each number."""
_DEFAULTS: Final = {_AFFINE: (64, 4), "mxfp4": (32, 4), "mxfp8": (32, 8)}
"""Mode -> (columns of a group, bits)."""
_AFFINE_BITS: Final = (2, 3, 4, 5, 6, 8)
_SETTINGS: Final = {"group_size", "bits", "mode"}


class Mode(NamedTuple):
    """How a matrix is stored."""

    mode: str
    bits: int
    group_size: int


def open_mlx(folder: Path, texts: ModelTexts) -> QuantizedFolder:
    """Open a folder of MLX. Raises CheckpointError (ConfigError)."""
    fields = quantization_fields(texts, folder, KEY)
    base = _mode(fields)
    overrides: dict[str, Mode] = {}
    for name, value in fields.values.items():
        if isinstance(value, dict):
            inner = inner_fields(fields, name, value)
            refuse_unknown(inner, _SETTINGS)
            overrides[name] = _mode(inner)
        elif name not in _SETTINGS and not isinstance(value, (bool, NoneType)):
            # true, false and null tell whether a module is quantised, which its tensors show too.
            raise fields.fail(name, "no such option: what it changes in the weights is not known")

    def open_matrix(tensors: TensorFiles, module: str, shape: tuple[int, int]) -> StoredMatrix | None:
        if f"{module}.scales" not in tensors:
            return None
        mode = overrides.get(module) or overrides.get(stack_of(module), base)
        return (AffineMatrix if mode.mode == _AFFINE else FloatMatrix)(tensors, module, shape, mode)

    return QuantizedFolder(folder, texts, open_matrix)


def _mode(fields: Fields) -> Mode:
    """Read the mode of an object. Missing settings are MLX's defaults for the mode, also in an inner object."""
    mode: str = must_be(fields, "mode", tuple(_DEFAULTS), _AFFINE)
    size, bits = _DEFAULTS[mode]
    allowed = _AFFINE_BITS if mode == _AFFINE else (bits,)
    if fields.values.get("bits") is not None:
        bits = must_be(fields, "bits", allowed, None)
    return Mode(mode, bits, fields.optional_integer("group_size", 1, 1 << 20) or size)


class _Grouped(StoredMatrix):
    """The common base of matrices in all modes."""

    def __init__(self, tensors: TensorFiles, module: str, shape: tuple[int, int], mode: Mode) -> None:
        rows, cols = shape
        self.tensors = tensors
        self.cols = cols
        self.mode = mode
        self.weight, self.scales = f"{module}.weight", f"{module}.scales"
        self.parts: tuple[Part, ...] = (Part(self.weight, True), Part(self.scales, True))
        if cols % mode.group_size:
            raise CheckpointError(
                f"{tensors.where(self.scales)}: expected columns in whole groups of {mode.group_size}, found {cols}"
            )
        self.group_count = cols // mode.group_size
        tensors.check(self.weight, (rows, words_of(cols, mode.bits)), ("U32",))

    def numbers(self, first: int, last: int) -> NDArray[np.uint8]:
        """Return the numbers of rows [first, last), uint8 [rows, cols]."""
        return packed_rows(self.tensors, self.weight, self.mode.bits, self.cols, first, last)


class AffineMatrix(_Grouped):
    """A matrix of the mode "affine": `w = scale * n + bias`."""

    def __init__(self, tensors: TensorFiles, module: str, shape: tuple[int, int], mode: Mode) -> None:
        """Raises CheckpointError for tensors that do not fit."""
        super().__init__(tensors, module, shape, mode)
        self._biases = f"{module}.biases"
        self.parts += (Part(self._biases, True),)
        self.group_size: int | None = mode.group_size
        self.bits = mode.bits
        tensors.check(self.scales, (shape[0], self.group_count), FLOATS)
        tensors.check(self._biases, (shape[0], self.group_count), (tensors.entry(self.scales).dtype,))

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """As WeightSource.rows."""
        dtype = self.tensors.entry(self.scales).dtype
        numbers, scales, biases = self.groups(first, last)
        values = numbers.astype(np.float32).reshape(*scales.shape, -1)
        values *= scales[:, :, None]
        values = rounded(values, dtype)
        values += biases[:, :, None]
        return rounded(values, dtype).reshape(numbers.shape)

    def groups(self, first: int, last: int) -> Groups:
        """As GroupSource.groups."""
        part = np.s_[first:last]
        scales, biases = (self.tensors.finite_part(name, part) for name in (self.scales, self._biases))
        return Groups(np.ascontiguousarray(self.numbers(first, last)), scales, biases)


class FloatMatrix(_Grouped):
    """A matrix of the mode "mxfp4" or "mxfp8"."""

    def __init__(self, tensors: TensorFiles, module: str, shape: tuple[int, int], mode: Mode) -> None:
        """Raises CheckpointError for tensors that do not fit."""
        super().__init__(tensors, module, shape, mode)
        tensors.check(self.scales, (shape[0], self.group_count), ("U8",))

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """As WeightSource.rows."""
        numbers = self.numbers(first, last)
        scales = np.take(E8M0, self.tensors.array(self.scales)[first:last])
        if np.isnan(scales).any():
            raise CheckpointError(f"{self.tensors.where(self.scales)}: expected finite numbers, found NaN")
        values = np.take(_FLOATS[self.mode.mode], numbers).reshape(*scales.shape, -1)
        values *= scales[:, :, None]
        return rounded(values.reshape(numbers.shape), "BF16")
