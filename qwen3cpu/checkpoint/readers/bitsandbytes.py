"""Reads folders of bitsandbytes: 4-bit codes (nf4, fp4) in blocks of a flat matrix, or int8 with a scale for each row.

4 bits: a byte has two codes, the first in the high half. A weight is `code * absmax` in float32, rounded to the
original dtype of the matrix. With double quantisation absmax itself is stored as 8-bit codes. It is
`code * nested absmax`, then `+ offset`, each rounded to float32.

int8: a weight is `n * scale`, then `* 1/127`, each rounded to float32.

A block may continue in the next row. On CPUs, version 0.50.2 of the library misreads matrices whose rows are not whole
blocks; on other devices it reads them correctly.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.json_fields import Fields, parse_object
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.number_formats import rounded
from qwen3cpu.checkpoint.readers.options import must_be, names, quantization_fields, refuse_unknown
from qwen3cpu.checkpoint.readers.quantized_folder import Part, QuantizedFolder, StoredMatrix
from qwen3cpu.checkpoint.readers.tensor_files import TensorFiles
from qwen3cpu.errors import CheckpointError

_STATE: Final = ".weight.quant_state.bitsandbytes__"
_KINDS: Final = ("nf4", "fp4")
_KNOWN: Final = {
    *("quant_method", "load_in_4bit", "load_in_8bit", "_load_in_4bit", "_load_in_8bit", "bnb_4bit_quant_type"),
    *("bnb_4bit_use_double_quant", "bnb_4bit_quant_storage", "bnb_4bit_compute_dtype", "llm_int8_skip_modules"),
    # How another engine runs the model.
    *("llm_int8_threshold", "llm_int8_enable_fp32_cpu_offload", "llm_int8_has_fp16_weight"),
}
_DTYPES: Final = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
_STORAGES: Final = ("U8", "I8", "BF16", "F16", "F32")
"""Dtypes that a tensor of codes may claim to have (bnb_4bit_quant_storage)."""
_STATE_KEYS: Final = {
    *("quant_type", "blocksize", "dtype", "shape", "nested_blocksize", "nested_dtype", "nested_offset"),
}
_ROW_ORDER: Final = 0
"""The weight_format of int8 in row order. Other numbers are tilings for certain GPUs."""


def open_bitsandbytes(folder: Path, texts: ModelTexts) -> QuantizedFolder:
    """Open a folder of bitsandbytes. Raises CheckpointError (ConfigError)."""
    fields = quantization_fields(texts, folder)
    refuse_unknown(fields, _KNOWN)
    must_be(fields, "bnb_4bit_quant_type", (*_KINDS, None), None)
    names(fields, "llm_int8_skip_modules")

    def open_matrix(tensors: TensorFiles, module: str, shape: tuple[int, int]) -> StoredMatrix | None:
        kinds = [kind for kind in _KINDS if f"{module}{_STATE}{kind}" in tensors]
        if kinds:
            return CodedMatrix(tensors, module, shape, kinds[0])
        return Int8Matrix(tensors, module, shape) if f"{module}.SCB" in tensors else None

    return QuantizedFolder(folder, texts, open_matrix)


class CodedMatrix(StoredMatrix):
    """A matrix of 4-bit codes."""

    def __init__(self, tensors: TensorFiles, module: str, shape: tuple[int, int], kind: str) -> None:
        """Raises CheckpointError for tensors that do not fit."""
        self._tensors = tensors
        self._cols = shape[1]
        self._weight = f"{module}.weight"
        state = f"{module}{_STATE}{kind}"
        fields = self._read_state(state, kind, shape)
        count = shape[0] * shape[1]
        self._dtype = _DTYPES[must_be(fields, "dtype", tuple(_DTYPES), None)]
        self._block = fields.integer("blocksize", 1, 1 << 20)
        self._absmax, self._codes = f"{self._weight}.absmax", f"{self._weight}.quant_map"
        self._blocks = -(-count // self._block)
        size = -(-count // 2)
        width = tensors.width(self._weight) if self._weight in tensors else 1  # bnb_4bit_quant_storage
        tensors.check(self._weight, (-(-size // width), 1), _STORAGES)
        tensors.check(self._codes, (16,), ("F32",))
        self.parts = (Part(self._weight, True), *(Part(each, False) for each in (self._absmax, self._codes, state)))
        self._nested = "nested_blocksize" in fields.values
        if self._nested:
            self._open_nested(fields)
        else:
            tensors.check(self._absmax, (self._blocks,), ("F32",))

    def _read_state(self, name: str, kind: str, shape: tuple[int, int]) -> Fields:
        """Read the JSON object in a tensor of bytes."""
        where = self._tensors.where(name)
        entry = self._tensors.entry(name)
        if entry.dtype != "U8" or len(entry.shape) != 1:
            raise CheckpointError(
                f"{where}: expected dtype U8 in one dimension, found {entry.dtype} {list(entry.shape)}"
            )
        fields = Fields(parse_object(self._tensors.raw(name).tobytes(), where), where, CheckpointError)
        refuse_unknown(fields, _STATE_KEYS)
        must_be(fields, "quant_type", (kind,), None)
        if fields.values.get("shape") != list(shape):
            raise fields.fail("shape", json.dumps(list(shape)))
        return fields

    def _open_nested(self, fields: Fields) -> None:
        self._nested_block = fields.integer("nested_blocksize", 1, 1 << 20)
        self._offset = np.float32(fields.number("nested_offset", -3e38, 3e38))
        must_be(fields, "nested_dtype", ("float32",), "float32")
        self._nested_absmax, self._nested_codes = (f"{self._weight}.nested_{part}" for part in ("absmax", "quant_map"))
        self._tensors.check(self._absmax, (self._blocks,), ("U8",))
        self._tensors.check(self._nested_absmax, (-(-self._blocks // self._nested_block),), ("F32",))
        self._tensors.check(self._nested_codes, (256,), ("F32",))
        self.parts += (Part(self._nested_absmax, False), Part(self._nested_codes, False))

    def _absmax_of(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the absmax of blocks [first, last), float32."""
        if not self._nested:
            return self._tensors.finite_part(self._absmax, np.s_[first:last])
        codes = np.take(self._tensors.finite(self._nested_codes), self._tensors.array(self._absmax)[first:last])
        start, stop = first // self._nested_block, -(-last // self._nested_block)
        nested = self._tensors.finite_part(self._nested_absmax, np.s_[start:stop])
        absmax: NDArray[np.float32] = (
            codes * nested[np.arange(first, last) // self._nested_block - start] + self._offset
        )
        return absmax

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """As WeightSource.rows."""
        begin, end = first * self._cols, last * self._cols
        packed = self._tensors.raw(self._weight)[begin // 2 : -(-end // 2)]
        codes = np.empty((len(packed), 2), np.uint8)
        codes[:, 0], codes[:, 1] = packed >> 4, packed & 15
        values = np.take(self._tensors.finite(self._codes), codes.reshape(-1)[begin % 2 : begin % 2 + end - begin])
        start, stop = begin // self._block, -(-end // self._block)
        spread = np.repeat(self._absmax_of(start, stop), self._block)
        values *= spread[begin - start * self._block : end - start * self._block]
        return rounded(values.reshape(last - first, self._cols), self._dtype)


class Int8Matrix(StoredMatrix):
    """A matrix of int8 with a scale for each row, `SCB`."""

    def __init__(self, tensors: TensorFiles, module: str, shape: tuple[int, int]) -> None:
        """Raises CheckpointError for tensors that do not fit."""
        self._tensors = tensors
        self._weight, self._scale, order = (f"{module}.{part}" for part in ("weight", "SCB", "weight_format"))
        tensors.check(self._weight, shape, ("I8",))
        tensors.check(self._scale, (shape[0],), ("F32",))
        self.parts = (Part(self._weight, True), Part(self._scale, False))
        if order in tensors:
            tensors.check(order, (), ("U8", "I32", "I64"))
            if int(tensors.array(order)) != _ROW_ORDER:
                raise CheckpointError(
                    f"{tensors.where(order)}: expected {_ROW_ORDER} (rows), found {int(tensors.array(order))}"
                )
            self.parts += (Part(order, False),)

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """As WeightSource.rows."""
        values = self._tensors.array(self._weight)[first:last].astype(np.float32)
        values *= self._tensors.finite_part(self._scale, np.s_[first:last])[:, None]
        values *= np.float32(1 / 127)
        return values
