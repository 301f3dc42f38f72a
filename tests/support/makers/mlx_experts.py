"""Writes made/mlx_experts*: mlx-lm 0.32.2 converts a checkpoint with experts and quantises it. Needs mlx-lm.

It keeps routers in the affine mode with 8 bits, regardless of the other matrices.
"""

from __future__ import annotations

import mlx.core as mx
import mlx_lm
import numpy as np
from common import MADE, SHAPE, describe
from mlx.utils import tree_flatten
from mlx_lm.models.qwen3_moe import Model, ModelArgs
from mlx_lm.utils import quantize_model

from checkpoints import EXPERTS, qwen3_config, random_tensors  # isort: skip  common has found the path

LIBRARY = f"mlx-lm {mlx_lm.__version__}, mlx {mx.__version__}"
KEYS = {**EXPERTS, "num_experts": 3, "moe_intermediate_size": 32}
STACK, EXPERT = ".switch_mlp.", ".experts.{}."


def make(made, mode, group=32, bits=4):
    config = qwen3_config(**SHAPE, **KEYS)
    model = Model(ModelArgs.from_dict(config))
    weights = {name: mx.array(values).astype(mx.bfloat16) for name, values in random_tensors(config)}
    model.load_weights(list(model.sanitize(weights).items()))
    model, config = quantize_model(model, config, group, bits, mode)
    tensors = dict(tree_flatten(model.parameters()))
    quantised = [name.removesuffix(".scales") for name in tensors if name.endswith(".scales")]
    values = {}
    for module in quantised:
        settings = config["quantization"].get(module, {"group_size": group, "bits": bits, "mode": mode})
        names = [f"{module}.{part}" for part in ("weight", "scales", "biases")]
        parts = [tensors[name] for name in names if name in tensors]
        weight = np.array(mx.dequantize(*parts, **settings).astype(mx.float32))
        if STACK in module:
            values |= {module.replace(STACK, EXPERT.format(number)): each for number, each in enumerate(weight)}
        else:
            values[module] = weight
    stored = {key: value for key, value in tensors.items() if key.rpartition(".")[0] in quantised}
    mx.save_safetensors(str(MADE / f"{made}.safetensors"), stored, {"format": "mlx"})
    changed = {key: config[key] for key in ("quantization", "quantization_config")}
    describe(made, LIBRARY, values, {**KEYS, **changed})


make("mlx_experts", "affine")
make("mlx_experts_mxfp4", "mxfp4")
