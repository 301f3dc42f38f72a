"""Writes made/fp8_*: transformers 5.24.0 quantises and dequantises. Needs torch."""

from __future__ import annotations

from types import SimpleNamespace

import torch
import transformers
from common import FEW, MODULES, torch_linears, write_torch
from transformers import FineGrainedFP8Config
from transformers.integrations.finegrained_fp8 import Fp8Dequantize, Fp8Quantize


def make(name, block, *, modules=FEW, scale_dtype=torch.bfloat16, **options):
    """block: (rows, columns), None for the whole matrix, -1 for whole rows."""
    tensors, values = {}, {}
    for module, linear in torch_linears(modules).items():
        size = (1, linear.weight.shape[1]) if block == -1 else block
        quantizer = SimpleNamespace(quantization_config=FineGrainedFP8Config(weight_block_size=size, **options))
        parts = Fp8Quantize(quantizer).convert({f"{module}.weight": linear.weight.data})
        scale = parts[f"{module}.weight_scale_inv"]
        if scale_dtype is not None:
            scale = parts[f"{module}.weight_scale_inv"] = scale.to(scale_dtype)
        found = {"weight": parts[f"{module}.weight"], "weight_scale_inv": scale}
        values[module] = Fp8Dequantize(quantizer).convert(found)["weight"]
        tensors |= parts
    config = {
        "activation_scheme": "dynamic", "fmt": "e4m3", "modules_to_not_convert": ["lm_head"], "quant_method": "fp8",
        "weight_block_size": list(block) if isinstance(block, tuple) else None, **options,
    }  # fmt: skip
    write_torch(name, f"transformers {transformers.__version__}", tensors, values, config)


make("fp8_block", (32, 32), modules=MODULES)
make("fp8_block_float32", (32, 32), scale_dtype=torch.float32)
make("fp8_block_ue8m0", (32, 32), scale_dtype=None, scale_fmt="ue8m0")
make("fp8_tensor", None)
make("fp8_channel", -1)
