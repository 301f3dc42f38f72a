"""The common parts of the scripts in this folder: the weights that they quantise, and the form of their results.

Each script runs in an environment of its own with the library that it names. It writes `made/NAME.safetensors`, which
has the quantised tensors of some modules in the library's layout. It also writes `made/NAME.json`, which has the
quantisation of config.json, and the SHA-256 of each matrix, float32, as dequantised by the library. `made_folders.py`
makes model folders from these files.
"""

from __future__ import annotations

import hashlib
import json
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SUPPORT = Path(__file__).resolve().parents[1]
MADE = SUPPORT / "made"
sys.path.insert(0, str(SUPPORT))

from checkpoints import qwen3_config, random_tensors  # noqa: E402  needs the path above
from made_folders import SHAPE  # noqa: E402

LAYER = "model.layers.0."
MODULES = tuple(
    LAYER + name
    for name in (
        *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
        *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    )
)
FEW = (LAYER + "self_attn.k_proj", LAYER + "mlp.down_proj")
"""Two modules, for variants of a layout."""


def originals(modules: tuple[str, ...], **overrides: Any) -> dict[str, np.ndarray]:
    """Module -> its weight, float32 [out, in]."""
    config = qwen3_config(**{**SHAPE, **overrides})
    return {
        name.removesuffix(".weight"): values
        for name, values in random_tensors(config)
        if name.removesuffix(".weight") in modules
    }


def torch_linears(modules: tuple[str, ...], dtype: Any = None, **overrides: Any) -> dict[str, Any]:
    """Module -> torch.nn.Linear with its weight."""
    import torch

    linears = {}
    for name, values in originals(modules, **overrides).items():
        linear = torch.nn.Linear(values.shape[1], values.shape[0], bias=False)
        linear.weight = torch.nn.Parameter(torch.from_numpy(values.copy()).to(dtype or torch.float32), False)
        linears[name] = linear
    return linears


def grid(weight: Any, bits: int, group_size: int, *, symmetric: bool = False) -> tuple[Any, Any]:
    """(scales, zeros) of round-to-nearest for groups of columns: torch float32 [out, groups] each, zeros whole."""
    import torch

    grouped = weight.float().reshape(weight.shape[0], -1, group_size)
    most = (1 << bits) - 1
    if symmetric:
        scales = grouped.abs().amax(2) * 2 / most
        return scales, torch.full_like(scales, 1 << (bits - 1))
    low, high = grouped.amin(2).clamp(max=0), grouped.amax(2).clamp(min=0)
    scales = (high - low) / most
    return scales, torch.round(-low / scales).clamp(0, most)


def digest(values: Any) -> str:
    """SHA-256 of a matrix as float32 in little-endian order, by rows."""
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<f4").tobytes()).hexdigest()


def describe(name: str, library: str, values: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Write made/NAME.json. values: module -> its dequantised weight. config: keys of config.json."""
    sums = {f"{module}.weight": digest(each) for module, each in values.items()}
    about = {"library": library, "config": config, "sha256": sums}
    (MADE / f"{name}.json").write_text(json.dumps(about, indent=1) + "\n")


def write_torch(name: str, library: str, tensors: Mapping[str, Any], values: Any, quantization: Any) -> None:
    """Write made/NAME.safetensors with the package safetensors, and made/NAME.json."""
    from safetensors.torch import save_file

    MADE.mkdir(exist_ok=True)
    save_file({key: each.contiguous().clone() for key, each in tensors.items()}, MADE / f"{name}.safetensors")
    describe(name, library, values, {"quantization_config": quantization})


def package_without_init(name: str, path: Path) -> types.ModuleType:
    """Make the modules of a package importable although its __init__ needs other versions of torch or transformers."""
    module = types.ModuleType(name)
    module.__path__ = [str(path)]
    sys.modules[name] = module
    return module
