"""Writes made/awq_autoawq: AutoAWQ 0.2.9 packs and dequantises.

Needs torch and the sources of autoawq (pip download --no-deps autoawq): python autoawq.py FOLDER/autoawq-0.2.9
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from common import MODULES, grid, package_without_init, torch_linears, write_torch

for name in ("awq", "awq.modules", "awq.modules.linear", "awq.utils"):
    package_without_init(name, Path(sys.argv[1]) / name.replace(".", "/"))

from awq.modules.linear.gemm import WQLinear_GEMM  # noqa: E402  of the sources above
from awq.utils.packing_utils import dequantize_gemm  # noqa: E402

tensors, values = {}, {}
for module, linear in torch_linears(MODULES, torch.float16).items():
    scales, zeros = (each.T.contiguous() for each in grid(linear.weight, 4, 32))
    layer = WQLinear_GEMM.from_linear(linear, 4, 32, scales=scales.half(), zeros=zeros.half())
    values[module] = dequantize_gemm(layer.qweight, layer.qzeros, layer.scales, 4, 32).T
    for part in ("qweight", "qzeros", "scales"):
        tensors[f"{module}.{part}"] = getattr(layer, part)
config = {
    "bits": 4, "group_size": 32, "modules_to_not_convert": None, "quant_method": "awq", "version": "gemm",
    "zero_point": True,
}  # fmt: skip
write_torch("awq_autoawq", "autoawq 0.2.9", tensors, values, config)
