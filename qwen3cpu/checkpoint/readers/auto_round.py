"""Reads weights of AutoRound (quant_method "auto-round"): layouts of GPTQ and AWQ with other configuration keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from qwen3cpu.checkpoint.json_fields import Fields
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.awq import open_awq_matrix
from qwen3cpu.checkpoint.readers.gptq import BITS, Layout, open_gptq_matrix
from qwen3cpu.checkpoint.readers.options import (
    group_size,
    inner_fields,
    must_be,
    pattern,
    quantization_fields,
    refuse_unknown,
)
from qwen3cpu.checkpoint.readers.quantized_folder import QuantizedFolder, StoredMatrix
from qwen3cpu.checkpoint.readers.tensor_files import TensorFiles

_AWQ: Final = "auto_round:auto_awq"
_ZERO_OFFSETS: Final = {
    "auto_round:auto_gptq": 1,
    "auto_round:gptqmodel": 0,
    "auto_round": 0,
    "auto_round:exllamav2": 0,
    "auto_round:tritonv2": 0,
}
"""Packing format in the layout of GPTQ -> number that is added to a stored zero."""
_SCHEME: Final = {"bits", "group_size", "sym", "data_type", "act_bits", "act_data_type", "act_dynamic", "act_sym"}
_KNOWN: Final = {
    *("quant_method", "packing_format", "backend", "extra_config", *_SCHEME, "act_group_size"),
    # How the file was made, and how other engines round activations and the KV cache.
    *("autoround_version", "iters", "nsamples", "seqlen", "batch_size", "lr", "minmax_lr", "low_gpu_mem_usage"),
    *("enable_quanted_input", "enable_minmax_tuning", "gradient_accumulate_steps", "dataset", "scale_dtype"),
    *("block_name_to_quantize", "quant_block_list", "to_quant_block_names", "damp_percent", "desc_act"),
    *("true_sequential", "amp", "nblocks", "enable_norm_bias_tuning", "momentum", "quant_lm_head"),
    *("modules_to_not_convert", "supported_types", "model_free", "model_free_version"),
    *("static_kv_dtype", "static_kv_granularity", "static_attention_dtype", "static_attention_granularity"),
}
_OVERRIDES: Final = {*_SCHEME, "act_group_size", "scale_dtype", "in_blocks"}
_FLOAT_BITS: Final = 16
"""An override with at least this many bits means that a module is not quantised."""


def open_auto_round(folder: Path, texts: ModelTexts) -> QuantizedFolder:
    """Open a folder written by AutoRound. Raises CheckpointError (ConfigError)."""
    fields = quantization_fields(texts, folder)
    refuse_unknown(fields, _KNOWN)
    key = "packing_format" if "packing_format" in fields.values else "backend"
    packing = must_be(fields, key, (_AWQ, *_ZERO_OFFSETS), None)
    base = _layout(fields, Layout(0, 128, _ZERO_OFFSETS.get(packing, 0)), packing)
    rules = [
        (name, _override(inner_fields(fields, f"extra_config: {name}", value), base, packing))
        for name, value in inner_fields(fields, "extra_config", fields.values.get("extra_config") or {}).values.items()
    ]
    exact = dict(rules)
    expressions = [(pattern(name, f"{fields.source}: extra_config"), layout) for name, layout in rules]

    def open_matrix(tensors: TensorFiles, module: str, shape: tuple[int, int]) -> StoredMatrix | None:
        layout = exact.get(module) or next((each for rule, each in expressions if rule.fullmatch(module)), base)
        if packing == _AWQ:
            return open_awq_matrix(layout.group_size)(tensors, module, shape)
        return open_gptq_matrix(tensors, module, shape, layout)

    return QuantizedFolder(folder, texts, open_matrix)


def _layout(fields: Fields, base: Layout, packing: str) -> Layout:
    must_be(fields, "data_type", ("int",), "int")
    allowed: tuple[Any, ...] = (4,) if packing == _AWQ else BITS
    default = base.bits or None
    size = group_size(fields, base.group_size) if "group_size" in fields.values else base.group_size
    return base._replace(bits=must_be(fields, "bits", allowed, default), group_size=size)


def _override(fields: Fields, base: Layout, packing: str) -> Layout:
    refuse_unknown(fields, _OVERRIDES)
    bits = fields.optional_integer("bits", 1, 32)
    if bits is not None and bits >= _FLOAT_BITS:
        return base
    return _layout(fields, base, packing)
