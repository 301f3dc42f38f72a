"""Reads folders of llm-compressor (quant_method "compressed-tensors"): W4A16, W8A16, W8A8 and FP8.

`config_groups` has schemes and the modules that each is for. Settings for rounding activations are ignored. The library
computes `(n - zero) * scale` in the dtype of the scales.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from qwen3cpu.checkpoint.json_fields import Fields, brief
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.compressed_matrix import CompressedMatrix
from qwen3cpu.checkpoint.readers.number_formats import FP8
from qwen3cpu.checkpoint.readers.options import (
    group_size,
    inner_fields,
    must_be,
    names,
    pattern,
    quantization_fields,
    refuse_unknown,
)
from qwen3cpu.checkpoint.readers.quantized_folder import QuantizedFolder, StoredMatrix
from qwen3cpu.checkpoint.readers.scaled_floats import ScaledFloats
from qwen3cpu.checkpoint.readers.tensor_files import TensorFiles
from qwen3cpu.checkpoint.tensors import EMBEDDING
from qwen3cpu.errors import CheckpointError

_FORMATS: Final = ("pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "dense", None)
_KNOWN: Final = {
    *("quant_method", "format", "config_groups", "ignore", "quantization_status", "sparsity_config"),
    # How the file was made; how other engines round the KV cache.
    *("global_compression_ratio", "version", "kv_cache_scheme"),
}
_SCHEME: Final = {"targets", "weights", "input_activations", "output_activations", "format"}
_WEIGHTS: Final = {
    *("num_bits", "type", "symmetric", "group_size", "strategy", "block_structure"),
    # The tensors show these, or only the making of the file depends on them.
    *("actorder", "dynamic", "observer", "observer_kwargs", "scale_dtype", "zp_dtype"),
}
_EXPRESSION: Final = "re:"
_CLASSES: Final = {EMBEDDING.removesuffix(".weight"): "Embedding"}
"""Module -> its class, for modules that are not Linear."""


class Scheme(NamedTuple):
    """How the weights of some modules are stored.

    block: (rows, columns) that share a scale; None: a scale for each row, or one for the whole matrix.
    """

    source: str
    targets: list[str]
    kind: str
    bits: int
    symmetric: bool
    block: tuple[int, int] | None


def open_compressed_tensors(folder: Path, texts: ModelTexts) -> QuantizedFolder:
    """Open a folder of compressed-tensors. Raises CheckpointError (ConfigError)."""
    fields = quantization_fields(texts, folder)
    refuse_unknown(fields, _KNOWN)
    must_be(fields, "format", (*_FORMATS, "mixed-precision"), None)
    must_be(fields, "quantization_status", ("compressed", "frozen", None), None)
    names(fields, "ignore")
    sparsity = inner_fields(fields, "sparsity_config", fields.values.get("sparsity_config") or {})
    must_be(sparsity, "format", ("dense", None), None)
    groups = inner_fields(fields, "config_groups", fields.values.get("config_groups"))
    schemes = [_scheme(inner_fields(groups, name, value)) for name, value in groups.values.items()]

    def open_matrix(tensors: TensorFiles, module: str, shape: tuple[int, int]) -> StoredMatrix | None:
        plain = f"{module}.weight"
        packed = f"{module}.weight_packed" in tensors
        if not packed and (plain not in tensors or tensors.entry(plain).dtype not in ("I8", *FP8)):
            return None
        where = tensors.where(f"{module}.weight_packed" if packed else plain)
        return _open(tensors, module, shape, _scheme_of(module, schemes, where))

    return QuantizedFolder(folder, texts, open_matrix)


def _open(tensors: TensorFiles, module: str, shape: tuple[int, int], scheme: Scheme) -> StoredMatrix:
    """Open a matrix that is stored by a scheme. Raises CheckpointError when its tensors do not fit the scheme."""
    packed, plain, zeros = (f"{module}.{part}" for part in ("weight_packed", "weight", "weight_zero_point"))
    if packed in tensors:
        if scheme.kind != "int" or (scheme.block is not None and scheme.block[0] != 1):
            raise CheckpointError(
                f"{tensors.where(packed)}: expected integers in groups of columns, found the scheme "
                f"{scheme.source.rpartition(': ')[2]}"
            )
        size = None if scheme.block is None else scheme.block[1]
        return CompressedMatrix(tensors, module, shape, bits=scheme.bits, group_size=size, symmetric=scheme.symmetric)
    dtypes = ("I8",) if scheme.kind == "int" else ("F8_E4M3",)
    has_zeros = scheme.kind == "int" and (zeros in tensors or not scheme.symmetric)
    return ScaledFloats(
        tensors,
        plain,
        f"{module}.weight_scale",
        shape,
        dtypes=dtypes,
        zeros=zeros if has_zeros else None,
        block=scheme.block,
    )


def _scheme(fields: Fields) -> Scheme:
    refuse_unknown(fields, _SCHEME)
    must_be(fields, "format", _FORMATS, None)
    weights = inner_fields(fields, "weights", fields.values.get("weights"))
    refuse_unknown(weights, _WEIGHTS)
    must_be(weights, "dynamic", (False, None), False)
    kind = must_be(weights, "type", ("int", "float"), "int")
    bits = must_be(weights, "num_bits", (8,) if kind == "float" else tuple(range(2, 9)), 8)
    symmetric = must_be(weights, "symmetric", (True,) if kind == "float" else (True, False), True)
    strategy = must_be(weights, "strategy", ("tensor", "channel", "group", "block"), "tensor")
    block = None
    if strategy == "group":
        size = group_size(weights, None)
        block = None if size is None else (1, size)
    elif strategy == "block":
        block = _block(weights)
    return Scheme(fields.source, names(fields, "targets"), kind, bits, symmetric, block)


def _block(fields: Fields) -> tuple[int, int]:
    """Read block_structure: [rows, columns], or a text such as "128x128"."""
    value: Any = fields.values.get("block_structure")
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}x[0-9]{1,6}", value):
        value = [int(each) for each in value.split("x")]
    if not isinstance(value, list) or len(value) != 2 or not all(type(each) is int and each > 0 for each in value):
        raise fields.fail("block_structure", "two positive integers")
    return value[0], value[1]


def _scheme_of(module: str, schemes: list[Scheme], where: str) -> Scheme:
    """Find the scheme of a module: by its name, else by a regular expression, else by its class.

    A single scheme is used for every module. Raises CheckpointError when no scheme fits.
    """
    if len(schemes) == 1:
        return schemes[0]
    for matches in (_is_named, _is_matched, _is_of_class):
        for scheme in schemes:
            if any(matches(module, target, scheme.source) for target in scheme.targets):
                return scheme
    raise CheckpointError(
        f"{where}: expected a scheme of config_groups whose targets are {module}, found "
        f"{brief([scheme.targets for scheme in schemes])}"
    )


def _is_named(module: str, target: str, source: str) -> bool:
    return module == target


def _is_matched(module: str, target: str, source: str) -> bool:
    if not target.startswith(_EXPRESSION):
        return False
    return pattern(target.removeprefix(_EXPRESSION), f"{source}: targets").match(module) is not None


def _is_of_class(module: str, target: str, source: str) -> bool:
    return target == _CLASSES.get(module, "Linear")
