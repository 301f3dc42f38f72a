"""Splits the stack of all experts of a layer, as mlx-lm stores it, into a tensor for each expert.

`LAYER.mlp.switch_mlp.up_proj.weight` [experts, out, in] holds what Qwen3MoeForCausalLM calls
`LAYER.mlp.experts.N.up_proj.weight` [out, in]. Scales and biases of quantised experts are stacked in the same way.
"""

from __future__ import annotations

import re
from typing import Final

from qwen3cpu.checkpoint.experts import MOST_EXPERTS
from qwen3cpu.checkpoint.mapped_tensors import MappedTensors, TensorEntry

_STACK: Final = re.compile(r"(?:.*\.)?mlp\.switch_mlp\.(?:gate|up|down)_proj\.(?:weight|scales|biases)", re.DOTALL)
_PART: Final = re.compile(r"(.*)switch_mlp(\..*)\[(\d+)\]", re.DOTALL)
_MODULE: Final = re.compile(r"\.experts\.\d+\.")


def split_stacks(file_of: dict[str, MappedTensors]) -> dict[str, MappedTensors]:
    """Return tensor name -> file, with parts NAME[0], NAME[1] and so on instead of a stack NAME.

    The parts are added to the tensors of their files.
    """
    found: dict[str, MappedTensors] = {}
    for name, file in file_of.items():
        entry = file.tensors[name]
        if _STACK.fullmatch(name) and len(entry.shape) == 3 and entry.shape[0] <= MOST_EXPERTS:
            parts = {f"{name}[{n}]": _part(entry, n) for n in range(entry.shape[0])}
            file.tensors.update(parts)
            found.update(dict.fromkeys(parts, file))
        else:
            found[name] = file
    return found


def _part(entry: TensorEntry, number: int) -> TensorEntry:
    count, *shape = entry.shape
    size = (entry.stop - entry.start) // count
    start = entry.start + number * size
    return TensorEntry(entry.dtype, tuple(shape), start, start + size)


def expert_name(name: str) -> str:
    """Return the name that Qwen3MoeForCausalLM gives a part of a stack; any other name stays unchanged."""
    match = _PART.fullmatch(name)
    return name if match is None else f"{match[1]}experts.{match[3]}{match[2]}"


def stack_of(module: str) -> str:
    """Return the stack's module in mlx-lm for a module of an expert; any other module stays unchanged."""
    return _MODULE.sub(".switch_mlp.", module)
