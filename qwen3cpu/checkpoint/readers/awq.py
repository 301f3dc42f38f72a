"""Reads weights of AutoAWQ ("gemm" layout): 4 bits, integers [in, out / 8] with eight neighbouring outputs in a word.

The outputs in a word have the order 0, 2, 4, 6, 1, 3, 5, 7, lowest bits first. AutoAWQ and GPTQModel compute
`(n - zero) * scale` in the dtype of the scales, which is float16 in all released files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.json_fields import Fields
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.column_groups import ColumnGroups
from qwen3cpu.checkpoint.readers.options import group_size, must_be, names, quantization_fields, refuse_unknown
from qwen3cpu.checkpoint.readers.quantized_folder import OpenMatrix, QuantizedFolder, StoredMatrix
from qwen3cpu.checkpoint.readers.tensor_files import TensorFiles

_PLACE_OF: Final = (0, 4, 1, 5, 2, 6, 3, 7)
"""Output within a word -> its 4-bit field, counted from the lowest bits."""
_OUTPUTS: Final = 8
_LAYOUT_KEYS: Final = ("version", "format", "checkpoint_format")
_KNOWN: Final = {
    *("quant_method", "method", "bits", "w_bit", "group_size", "q_group_size", "zero_point", *_LAYOUT_KEYS),
    *("pack_dtype", "modules_to_not_convert"),
    # How the file was made, or how another engine runs it:
    *("backend", "do_fuse", "modules_to_fuse", "fuse_max_seq_len", "exllama_config", "meta", "desc_act", "sym"),
    *("lm_head", "damp_percent", "tokenizer", "dataset", "model_seqlen", "block_name_to_quantize", "batch_size"),
    *("act_group_aware", "true_sequential", "module_name_preceding_first_block", "modules_in_block_to_quantize"),
    *("pad_token_id", "max_input_length", "cache_block_outputs"),
}


def open_awq(folder: Path, texts: ModelTexts) -> QuantizedFolder:
    """Open a folder written by AutoAWQ, or by GPTQModel with AWQ. Raises CheckpointError (ConfigError)."""
    fields = quantization_fields(texts, folder)
    refuse_unknown(fields, _KNOWN)
    for key in _LAYOUT_KEYS:
        if fields.values.get(key) is not None:
            must_be(fields, key, ("gemm", "GEMM"), "gemm")
    for key in ("bits", "w_bit"):
        must_be(fields, key, (4,), 4)
    must_be(fields, "pack_dtype", ("int32",), "int32")
    names(fields, "modules_to_not_convert")
    return QuantizedFolder(folder, texts, open_awq_matrix(_group_size(fields)))


def _group_size(fields: Fields) -> int | None:
    return group_size(fields, 128, "q_group_size" if "group_size" not in fields.values else "group_size")


def open_awq_matrix(size: int | None) -> OpenMatrix:
    """Return a function that opens matrices with groups of this size; None: whole rows."""

    def open_matrix(tensors: TensorFiles, module: str, shape: tuple[int, int]) -> StoredMatrix | None:
        return AwqMatrix(tensors, module, shape, size) if f"{module}.qweight" in tensors else None

    return open_matrix


class AwqMatrix(ColumnGroups):
    """A matrix of the "gemm" layout."""

    def __init__(self, tensors: TensorFiles, module: str, shape: tuple[int, int], size: int | None) -> None:
        super().__init__(tensors, module, shape, bits=4, group_size=size)

    def qweight_shape(self) -> tuple[int, int]:
        return self.shape[1], self.words(self.shape[0], "outputs")

    def numbers(self, first: int, last: int) -> NDArray[np.uint8]:
        return _fields(self.tensors.array(self.qweight), first, last)

    def zeros(self, first: int, last: int) -> NDArray[np.float32]:
        return _fields(self.tensors.array(self.qzeros), first, last).astype(np.float32)


def _fields(words: NDArray[Any], first: int, last: int) -> NDArray[np.uint8]:
    """Unpack outputs [first, last) of int32 words [n, out / 8]: uint8 [last - first, n]."""
    start, stop = first // _OUTPUTS, -(-last // _OUTPUTS)
    turned = np.ascontiguousarray(words[:, start:stop].T).view(np.uint32)
    outputs = np.empty((stop - start, _OUTPUTS, len(words)), np.uint8)
    for output, place in enumerate(_PLACE_OF):
        outputs[:, output] = (turned >> np.uint32(4 * place)) & np.uint32(15)
    return outputs.reshape(-1, len(words))[first - start * _OUTPUTS : last - start * _OUTPUTS]
