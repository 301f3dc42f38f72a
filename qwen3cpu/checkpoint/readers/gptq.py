"""Reads weights of AutoGPTQ, GPTQModel, optimum and AutoRound: 2, 3, 4 or 8 bits, integers packed along the inputs.

`qweight` is int32 [in * bits / 32, out]; each column is one run of bits. `qzeros` is int32 [groups, out * bits / 32];
each row is a run. `scales` is [groups, out]. The optional `g_idx` has the group of each input, which `desc_act`
scatters.

The makers compute `scale * (n - zero)` in the dtype of the scales (float16 or bfloat16). Version 1 of the format stores
zero - 1. AutoGPTQ, its maker, reads `(stored + 1) % 2 ** bits`, and so does this module. Version 2 (`gptq_v2`) stores
the zero itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.json_fields import Fields
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.bit_fields import unpack_fields, word_bytes
from qwen3cpu.checkpoint.readers.column_groups import ColumnGroups
from qwen3cpu.checkpoint.readers.options import (
    group_size,
    inner_fields,
    must_be,
    names,
    pattern,
    quantization_fields,
    refuse_unknown,
)
from qwen3cpu.checkpoint.readers.quantized_folder import Part, QuantizedFolder, StoredMatrix
from qwen3cpu.checkpoint.readers.row_groups import group_order
from qwen3cpu.checkpoint.readers.tensor_files import TensorFiles

BITS: Final = (2, 3, 4, 8)
_V1, _V2 = "gptq", "gptq_v2"
_LAYOUT_KEYS: Final = ("checkpoint_format", "format")
_READ: Final = {"quant_method", "method", "bits", "group_size", *_LAYOUT_KEYS, "pack_dtype", "dynamic"}
_HARMLESS: Final = {
    # The tensors show these.
    *("desc_act", "sym", "lm_head", "modules_in_block_to_quantize", "modules_to_not_convert", "true_sequential"),
    # How the file was made, or how another engine runs it.
    *("damp_percent", "damp_auto_increment", "static_groups", "mse", "hyb_act", "act_group_aware", "meta", "dataset"),
    *("tokenizer", "model_name_or_path", "model_file_base_name", "batch_size", "block_name_to_quantize"),
    *("pad_token_id", "module_name_preceding_first_block", "use_cuda_fp16", "use_exllama", "disable_exllama"),
    *("exllama_config", "max_input_length", "cache_block_outputs", "model_seqlen", "backend"),
}
_OVERRIDES: Final = {"bits", "group_size", "desc_act", "sym", "mse", "damp_percent", "damp_auto_increment"}
_NOT_QUANTIZED: Final = "-:"
_QUANTIZED: Final = "+:"


class Layout(NamedTuple):
    """How a matrix is stored. group_size: None: whole rows. zero_offset: number that is added to a stored zero."""

    bits: int
    group_size: int | None
    zero_offset: int


def open_gptq(folder: Path, texts: ModelTexts) -> QuantizedFolder:
    """Open a folder of quant_method "gptq". Raises CheckpointError (ConfigError)."""
    fields = quantization_fields(texts, folder)
    refuse_unknown(fields, _READ | _HARMLESS)
    must_be(fields, "method", ("gptq", None), None)
    must_be(fields, "pack_dtype", ("int32",), "int32")
    names(fields, "modules_to_not_convert")
    layout = Layout(must_be(fields, "bits", BITS, None), group_size(fields, None), _zero_offset(fields))
    overrides = _Overrides(fields, layout)

    def open_matrix(tensors: TensorFiles, module: str, shape: tuple[int, int]) -> StoredMatrix | None:
        return open_gptq_matrix(tensors, module, shape, overrides.layout(module))

    return QuantizedFolder(folder, texts, open_matrix)


def open_gptq_matrix(tensors: TensorFiles, module: str, shape: tuple[int, int], layout: Layout) -> StoredMatrix | None:
    """Open a matrix of this layout; None: the module is not quantised. Raises CheckpointError."""
    return GptqMatrix(tensors, module, shape, layout) if f"{module}.qweight" in tensors else None


def _zero_offset(fields: Fields) -> int:
    found = {fields.values[key] for key in _LAYOUT_KEYS if isinstance(fields.values.get(key), str)}
    for key in _LAYOUT_KEYS:
        must_be(fields, key, (_V1, _V2, None), None)
    if len(found) > 1:
        raise fields.fail("format", f"the same as checkpoint_format ({fields.values['checkpoint_format']!r})")
    return 0 if found == {_V2} else 1


class _Overrides:
    """GPTQModel's `dynamic`: regular expressions for module names -> other settings. The first match counts."""

    def __init__(self, fields: Fields, layout: Layout) -> None:
        rules = inner_fields(fields, "dynamic", fields.values.get("dynamic") or {}).values
        self._layout = layout
        self._rules = [self._rule(fields, key, value) for key, value in rules.items()]

    def _rule(self, fields: Fields, key: str, value: Any) -> tuple[Any, Layout]:
        inner = inner_fields(fields, f"dynamic: {key}", {} if value is False else value)
        layout = self._layout
        if not key.startswith(_NOT_QUANTIZED):
            refuse_unknown(inner, _OVERRIDES)
            bits = must_be(inner, "bits", BITS, layout.bits)
            layout = layout._replace(bits=bits)
            if "group_size" in inner.values:
                layout = layout._replace(group_size=group_size(inner, None))
        text = key.removeprefix(_NOT_QUANTIZED).removeprefix(_QUANTIZED)
        return pattern(text, inner.source), layout

    def layout(self, module: str) -> Layout:
        """Return the layout of a module."""
        return next((layout for rule, layout in self._rules if rule.match(module)), self._layout)


class GptqMatrix(ColumnGroups):
    """A matrix of qweight, qzeros, scales and, in some files, g_idx."""

    def __init__(self, tensors: TensorFiles, module: str, shape: tuple[int, int], layout: Layout) -> None:
        super().__init__(tensors, module, shape, bits=layout.bits, group_size=layout.group_size)
        self._zero_offset = layout.zero_offset
        name = f"{module}.g_idx"
        if name in tensors:
            self.parts = (*self.parts, Part(name, False))
            self._read_order(name)

    def _read_order(self, name: str) -> None:
        """Read the group of each input. The usual order is not kept, so that `groups` can be used."""
        order = group_order(self.tensors, name, self.shape[1], self.count)
        if self.group_size is None or not np.array_equal(order, np.arange(self.shape[1]) // self.group_size):
            self.group_of, self.group_size = order, None

    def qweight_shape(self) -> tuple[int, int]:
        return self.words(self.shape[1], "inputs"), self.shape[0]

    def numbers(self, first: int, last: int) -> NDArray[np.uint8]:
        columns = np.ascontiguousarray(self.tensors.array(self.qweight)[:, first:last].T)
        return unpack_fields(word_bytes(columns), self.bits, self.shape[1])

    def zeros(self, first: int, last: int) -> NDArray[np.float32]:
        start, stop = first // 32, -(-last // 32)  # 32 numbers are whole words
        packed = word_bytes(self.tensors.array(self.qzeros)[:, start * self.bits : stop * self.bits])
        numbers = unpack_fields(packed, self.bits, packed.shape[1] * 8 // self.bits)
        numbers = numbers[:, first - start * 32 : last - start * 32]
        zeros = (numbers.astype(np.float32) + np.float32(self._zero_offset)) % np.float32(1 << self.bits)
        return np.ascontiguousarray(zeros.T)
