"""Reads FP8 weights of Qwen, AutoFP8 and transformers (quant_method "fp8"): 8-bit floats with a scale for each block.

Qwen's files have a scale for 128 x 128 weights, `weight_scale_inv`, which multiplies in spite of its name. The library
transformers multiplies in float32 and rounds to the dtype of the scales, which is bfloat16 in Qwen's files. If the
scales are powers of two, it rounds to bfloat16. `activation_scheme` tells how other engines round activations, and is
ignored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from qwen3cpu.checkpoint.json_fields import Fields
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.number_formats import FP8
from qwen3cpu.checkpoint.readers.options import must_be, names, quantization_fields, refuse_unknown
from qwen3cpu.checkpoint.readers.quantized_folder import QuantizedFolder, StoredMatrix
from qwen3cpu.checkpoint.readers.scaled_floats import ScaledFloats
from qwen3cpu.checkpoint.readers.tensor_files import TensorFiles
from qwen3cpu.errors import CheckpointError

_SCALES: Final = ("weight_scale_inv", "weight_scale")
_LISTS: Final = ("modules_to_not_convert", "modules_to_convert", "ignored_layers")
_KNOWN: Final = {
    *("quant_method", "fmt", "activation_scheme", "weight_block_size", "scale_fmt", "expert_dtype", "dequantize"),
    *("kv_cache_scheme", *_LISTS),
}


def open_fp8(folder: Path, texts: ModelTexts) -> QuantizedFolder:
    """Open a folder of FP8 weights. Raises CheckpointError (ConfigError)."""
    fields = quantization_fields(texts, folder)
    refuse_unknown(fields, _KNOWN)
    must_be(fields, "fmt", ("e4m3", "float8_e4m3fn", "e5m2", "float8_e5m2", None), None)
    must_be(fields, "activation_scheme", ("dynamic", "static", None), None)
    must_be(fields, "scale_fmt", ("float", "ue8m0", None), None)
    must_be(fields, "expert_dtype", ("fp8", None), None)
    for key in _LISTS:
        names(fields, key)
    block = _block(fields)

    def open_matrix(tensors: TensorFiles, module: str, shape: tuple[int, int]) -> StoredMatrix | None:
        name = f"{module}.weight"
        found = [each for part in _SCALES if (each := f"{module}.{part}") in tensors]
        if name not in tensors or tensors.entry(name).dtype not in FP8:
            return None  # if a scale lies beside it, QuantizedFolder refuses that tensor
        if len(found) != 1:
            raise CheckpointError(
                f"{tensors.where(name)}: expected one tensor {' or '.join(_SCALES)} beside it, found "
                f"{' and '.join(found) or 'none'}"
            )
        return ScaledFloats(tensors, name, found[0], shape, block=block)

    return QuantizedFolder(folder, texts, open_matrix)


def _block(fields: Fields) -> tuple[int, int] | None:
    """Read weight_block_size: (rows, columns)."""
    value = fields.values.get("weight_block_size")
    if value is None:
        return None
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(type(each) is int and 0 < each <= 1 << 20 for each in value)
    ):
        raise fields.fail("weight_block_size", "two positive integers")
    return value[0], value[1]
