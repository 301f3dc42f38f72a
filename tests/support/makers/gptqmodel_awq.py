"""Writes made/awq_gptqmodel: AWQ by GPTQModel 7.7.0, which dequantises it. It needs the same as gptqmodel_gptq.py."""

from __future__ import annotations

import torch
from common import FEW, grid, torch_linears, write_torch
from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear
from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm
from gptqmodel.version import __version__

tensors, values = {}, {}
for module, linear in torch_linears(FEW).items():
    rows, columns = linear.weight.shape
    scales, zeros = grid(linear.weight, 4, 32)
    layer = AwqTorchLinear(
        bits=4, group_size=32, sym=False, desc_act=False, in_features=columns, out_features=rows, register_buffers=True
    )
    layer.pack(linear, scales.to(torch.bfloat16), zeros.to(torch.bfloat16))
    values[module] = dequantize_gemm(layer.qweight, layer.qzeros, layer.scales, 4, 32).T
    for part in ("qweight", "qzeros", "scales"):
        tensors[f"{module}.{part}"] = getattr(layer, part)
config = {
    "bits": 4, "group_size": 32, "desc_act": False, "sym": False, "zero_point": True, "quant_method": "awq",
    "format": "gemm", "checkpoint_format": "gemm", "version": "gemm", "method": "awq", "pack_dtype": "int32",
    "meta": {"quantizer": [f"gptqmodel:{__version__}"]},
}  # fmt: skip
write_torch("awq_gptqmodel", f"gptqmodel {__version__}", tensors, values, config)
