"""Writes made/mlx_*: MLX 0.32.4 quantises, writes and dequantises. Needs mlx and mlx-cpu."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from common import FEW, MADE, MODULES, describe, originals
from made_folders import VOCABULARY

LIBRARY = f"mlx {mx.__version__}"
TABLES = ("model.embed_tokens", "lm_head")


def make(name, modules, bits, group=32, mode="affine", dtype=mx.bfloat16, other=None, **overrides):
    """other: module -> settings of its own."""
    tensors, values = {}, {}
    for module, weight in originals(modules, **overrides).items():
        settings = {"group_size": group, "bits": bits, "mode": mode, **(other or {}).get(module, {})}
        parts = mx.quantize(mx.array(weight).astype(dtype), **settings)
        names = ("weight", "scales", "biases")[: len(parts)]
        tensors |= {f"{module}.{part}": value for part, value in zip(names, parts, strict=True)}
        values[module] = np.array(mx.dequantize(*parts, **settings).astype(mx.float32))
    mx.save_safetensors(str(MADE / f"{name}.safetensors"), tensors, {"format": "mlx"})
    quantization = {"group_size": group, "bits": bits, **({} if mode == "affine" else {"mode": mode}), **(other or {})}
    describe(name, LIBRARY, values, {"quantization": quantization, "quantization_config": quantization, **overrides})


make("mlx_4bit", MODULES, 4)
for each in (2, 3, 5, 6, 8):
    make(f"mlx_{each}bit", FEW, each)
make("mlx_4bit_float16", FEW, 4, 64 // 2, dtype=mx.float16)
make("mlx_mixed", FEW, 4, other={FEW[1]: {"group_size": 32, "bits": 6}})
make("mlx_mxfp4", FEW, 4, mode="mxfp4")
make("mlx_mxfp8", FEW, 8, mode="mxfp8")
make("mlx_tables", TABLES, 4, vocab_size=VOCABULARY, tie_word_embeddings=False)
