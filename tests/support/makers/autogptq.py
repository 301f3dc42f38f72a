"""Writes made/gptq_autogptq: AutoGPTQ 0.7.1 packs version 1, with zeros of 0, stored as -1, and a bias of zeros.

Its own formula dequantises: forward with the identity. Needs torch and the wheel of auto-gptq, unpacked:
python autogptq.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from common import FEW, grid, package_without_init, torch_linears, write_torch

for name in ("auto_gptq", "auto_gptq.nn_modules", "auto_gptq.nn_modules.qlinear"):
    package_without_init(name, Path(sys.argv[1]) / name.replace(".", "/"))

from auto_gptq.nn_modules.qlinear.qlinear_cuda_old import QuantLinear  # noqa: E402  of the wheel above

tensors, values = {}, {}
for module, linear in torch_linears(FEW, torch.float16).items():
    rows, columns = linear.weight.shape
    scales, zeros = grid(linear.weight, 4, 32)
    linear.bias = torch.nn.Parameter(torch.zeros(rows, dtype=torch.float16))
    layer = QuantLinear(4, 32, columns, rows, bias=True, weight_dtype=torch.float16)
    layer.pack(linear, scales.clone(), zeros.clone(), torch.arange(columns) // 32)
    values[module] = layer.forward(torch.eye(columns, dtype=torch.float16)).float().T
    for part in ("qweight", "qzeros", "scales", "g_idx", "bias"):
        tensors[f"{module}.{part}"] = getattr(layer, part)
config = {
    "bits": 4, "group_size": 32, "damp_percent": 0.01, "desc_act": False, "static_groups": False, "sym": False,
    "true_sequential": True, "model_name_or_path": None, "model_file_base_name": "model", "quant_method": "gptq",
    "checkpoint_format": "gptq", "is_marlin_format": False,
}  # fmt: skip
write_torch("gptq_autogptq", "auto-gptq 0.7.1", tensors, values, config)
