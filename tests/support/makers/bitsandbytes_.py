"""Writes made/bnb_*: bitsandbytes 0.50.2 quantises, writes its state, and dequantises. Needs torch."""

from __future__ import annotations

import bitsandbytes
import torch
from bitsandbytes import functional
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
from common import FEW, MODULES, torch_linears, write_torch

LIBRARY = f"bitsandbytes {bitsandbytes.__version__}"


def make_4bit(name, kind, *, modules=FEW, double=False, dtype=torch.bfloat16, block=64):
    tensors, values = {}, {}
    for module, linear in torch_linears(modules, dtype).items():
        packed, state = functional.quantize_4bit(
            linear.weight.data, blocksize=block, quant_type=kind, compress_statistics=double
        )
        absmax = functional.dequantize_blockwise(state.absmax, state.state2) + state.offset if double else state.absmax
        values[module] = _dequantize_4bit_compute(packed.reshape(-1), absmax, state.code, block, state.shape, dtype)
        if linear.weight.shape[1] % block == 0:  # the library's kernel for CPUs is wrong for other shapes
            assert torch.equal(values[module], functional.dequantize_4bit(packed, state))
        tensors[f"{module}.weight"] = packed
        tensors |= {f"{module}.weight.{part}": value for part, value in state.as_dict(packed=True).items()}
    config = {
        "_load_in_4bit": True, "_load_in_8bit": False, "bnb_4bit_compute_dtype": "bfloat16",
        "bnb_4bit_quant_storage": "uint8", "bnb_4bit_quant_type": kind, "bnb_4bit_use_double_quant": double,
        "llm_int8_enable_fp32_cpu_offload": False, "llm_int8_has_fp16_weight": False, "llm_int8_skip_modules": None,
        "llm_int8_threshold": 6.0, "load_in_4bit": True, "load_in_8bit": False, "quant_method": "bitsandbytes",
    }  # fmt: skip
    write_torch(name, LIBRARY, tensors, values, config)


def make_int8(name):
    tensors, values = {}, {}
    for module, linear in torch_linears(FEW, torch.float16).items():
        numbers, scales, _ = functional.int8_vectorwise_quant(linear.weight.data)
        values[module] = functional.int8_vectorwise_dequant(numbers, scales)
        tensors |= {f"{module}.weight": numbers, f"{module}.SCB": scales}
        tensors[f"{module}.weight_format"] = torch.tensor(0, dtype=torch.uint8)
    config = {
        "_load_in_4bit": False, "_load_in_8bit": True, "bnb_4bit_compute_dtype": "float32",
        "bnb_4bit_quant_storage": "uint8", "bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": False,
        "llm_int8_enable_fp32_cpu_offload": False, "llm_int8_has_fp16_weight": False,
        "llm_int8_skip_modules": ["lm_head"], "llm_int8_threshold": 6.0, "load_in_4bit": False, "load_in_8bit": True,
        "quant_method": "bitsandbytes",
    }  # fmt: skip
    write_torch(name, LIBRARY, tensors, values, config)


make_4bit("bnb_nf4", "nf4", modules=MODULES)
make_4bit("bnb_nf4_double", "nf4", double=True)
make_4bit("bnb_nf4_float16", "nf4", dtype=torch.float16)
make_4bit("bnb_nf4_float32", "nf4", double=True, dtype=torch.float32)
make_4bit("bnb_fp4", "fp4", block=128)
make_int8("bnb_int8")
