"""Writes made/autoround_*: AutoRound 0.16.1 packs; its own formula, forward with the identity, dequantises.

Needs torch, transformers and the wheel of auto-round, unpacked: python autoround.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from common import FEW, grid, package_without_init, torch_linears, write_torch

SOURCES = Path(sys.argv[1])
sys.path.insert(0, str(SOURCES))
package_without_init("auto_round", SOURCES / "auto_round")
package_without_init("auto_round.utils", SOURCES / "auto_round/utils").get_packing_device = lambda device: "cpu"

from auto_round_extension.torch.qlinear_torch import QuantLinear  # noqa: E402  of the wheel above
from auto_round_extension.torch.qlinear_torch_zp import QuantLinear as QuantLinearZp  # noqa: E402


def make(name, kind, packing, bits, sym):
    tensors, values = {}, {}
    for module, linear in torch_linears(FEW).items():
        rows, columns = linear.weight.shape
        scales, zeros = grid(linear.weight, bits, 32, symmetric=sym)
        zeros = zeros.clamp(min=1)
        layer = kind(bits, 32, columns, rows, bias=False)
        layer.device = "cpu"
        layer.pack(linear, scales, 1 << (bits - 1) if sym else zeros, None, device="cpu")
        layer.post_init()
        values[module] = layer.forward(torch.eye(columns, dtype=torch.float16)).float().T
        for part in ("qweight", "qzeros", "scales"):
            tensors[f"{module}.{part}"] = getattr(layer, part)
    config = {
        "bits": bits, "data_type": "int", "group_size": 32, "sym": sym, "iters": 200, "nsamples": 128, "seqlen": 2048,
        "autoround_version": "0.16.1", "block_name_to_quantize": "model.layers", "quant_method": "auto-round",
        "packing_format": packing,
    }  # fmt: skip
    write_torch(name, "auto-round 0.16.1", tensors, values, config)


make("autoround_gptq", QuantLinearZp, "auto_round:auto_gptq", 4, sym=True)
make("autoround_asym", QuantLinear, "auto_round", 4, sym=False)
