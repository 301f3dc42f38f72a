"""Writes made/gptq_*: GPTQModel 7.7.0 packs, converts to version 1 of the format, and dequantises.

Needs torch 2.13.0 and the sources of gptqmodel on PYTHONPATH (pip download --no-deps gptqmodel), with logbar,
tokenicer, defuser, device-smi, pypcre, torchao and pillow, each installed with --no-deps.
"""

from __future__ import annotations

import copy
from types import SimpleNamespace

import torch
from common import FEW, MODULES, grid, torch_linears, write_torch
from gptqmodel.nn_modules.qlinear.torch import TorchLinear
from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module
from gptqmodel.version import __version__

GROUP = 32


def scattered(columns: int, seed: int) -> torch.Tensor:
    """A g_idx as with desc_act: GROUP columns of each group, in any order."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randperm(columns, generator=generator) // GROUP).to(torch.int32)


def make(name, bits, *, modules=FEW, sym=True, v1=True, desc_act=False, dtype=torch.float16, **options):
    tensors, values = {}, {}
    for seed, (module, linear) in enumerate(torch_linears(modules).items()):
        rows, columns = linear.weight.shape
        order = scattered(columns, seed) if desc_act else torch.arange(columns, dtype=torch.int32) // GROUP
        by_group = linear.weight[:, torch.argsort(order, stable=True)]
        scales, zeros = grid(by_group, bits, GROUP, symmetric=sym)
        zeros = zeros.clamp(min=1)  # version 1 cannot hold 0
        layer = TorchLinear(
            bits=bits, group_size=GROUP, sym=sym, desc_act=desc_act, in_features=columns, out_features=rows,
            bias=False, pack_dtype=torch.int32, register_buffers=True,
        )  # fmt: skip
        layer.pack(linear, scales.to(dtype).float(), zeros, order)
        layer.scales = layer.scales.to(dtype)
        layer.post_init()
        values[module] = layer.dequantize_weight().T
        stored = copy.deepcopy(layer)
        if v1:
            convert_gptq_v2_to_v1_format_module(stored, SimpleNamespace(bits=bits, pack_dtype=torch.int32))
        for part in ("qweight", "qzeros", "scales", "g_idx"):
            tensors[f"{module}.{part}"] = getattr(stored, part).cpu()
    form = "gptq" if v1 else "gptq_v2"
    config = {
        "bits": bits, "group_size": GROUP, "desc_act": desc_act, "sym": sym, "lm_head": False, "quant_method": "gptq",
        "checkpoint_format": form, "format": form, "method": "gptq", "pack_dtype": "int32",
        "meta": {"quantizer": [f"gptqmodel:{__version__}"], "true_sequential": True},
        **options,
    }  # fmt: skip
    write_torch(name, f"gptqmodel {__version__}", tensors, values, config)


make("gptq_int4_sym_v1", 4, modules=MODULES)
make("gptq_int4_asym_v1", 4, sym=False)
make("gptq_int4_asym_v2", 4, sym=False, v1=False)
make("gptq_int4_desc_act", 4, desc_act=True)
make("gptq_int4_bfloat16", 4, sym=False, v1=False, dtype=torch.bfloat16)
make("gptq_int8_sym_v1", 8)
make("gptq_int3_asym_v2", 3, sym=False, v1=False)
make("gptq_int3_asym_v1", 3, sym=False)
make("gptq_int2_asym_v1", 2, sym=False)
