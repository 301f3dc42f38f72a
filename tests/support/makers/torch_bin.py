"""Writes made/torch_save.bin, made/torch_save.json: torch 2.13.0's torch.save of the state of a module. Needs torch."""

from __future__ import annotations

import torch
from common import FEW, MADE, describe, torch_linears

state, values = torch.nn.ParameterDict().state_dict(), {}
dtypes = {FEW[0]: torch.bfloat16, FEW[1]: torch.float16}
for module, linear in torch_linears(FEW).items():
    values[module] = state[f"{module}.weight"] = linear.weight.data.to(dtypes[module])
torch.save(state, MADE / "torch_save.bin")
describe("torch_save", f"torch {torch.__version__}", values, {})
