"""Blocks of random bytes in every type of GGUF files, with scales that make weights of an ordinary size."""

from __future__ import annotations

import gguf
import numpy as np
from numpy.typing import NDArray

PLAIN = ("F32", "F16", "BF16")
SIZES = {
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q8_0": (32, 34),
    "Q2_K": (256, 84),
    "Q3_K": (256, 110),
    "Q4_K": (256, 144),
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),
    "IQ2_XXS": (256, 66),
    "IQ2_XS": (256, 74),
    "IQ3_XXS": (256, 98),
    "IQ1_S": (256, 50),
    "IQ4_NL": (32, 18),
    "IQ3_S": (256, 110),
    "IQ2_S": (256, 82),
    "IQ4_XS": (256, 136),
    "IQ1_M": (256, 56),
    "TQ1_0": (256, 54),
    "TQ2_0": (256, 66),
    "MXFP4": (32, 17),
    "NVFP4": (64, 36),
    "Q1_0": (128, 18),
    "Q2_0": (64, 18),
}
"""Type -> (weights in a block, its bytes)."""
NUMBERS = {**{name: gguf.GGMLQuantizationType[name].value for name in SIZES if name != "Q2_0"}, "Q2_0": 42}
gguf.GGML_QUANT_SIZES.setdefault(42, SIZES["Q2_0"])  # lets the package write a type that it does not know
_HALVES = {
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q6_K": (208,),
    "TQ1_0": (52,),
    "TQ2_0": (64,),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), (0, 2)),
    **dict.fromkeys(("IQ1_M", "MXFP4", "NVFP4"), ()),
}
"""Bytes at which blocks have float16 scales, for types where this is not only the first byte."""


def random_type_blocks(kind: str, rows: int, cols: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """uint8 [rows, bytes of a row] of a type in SIZES."""
    weights, size = SIZES[kind]
    blocks = rng.integers(256, size=(rows * cols // weights, size), dtype=np.uint8)
    for at in _HALVES.get(kind, (0,)):
        scales = rng.uniform(0.0005, 0.002, len(blocks)).astype(np.float16)
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    if kind == "IQ1_M":
        blocks[:, 55] = blocks[:, 55] & 15 | 0x10  # the upper bits of a float16 in four parts
    elif kind == "MXFP4":
        blocks[:, 0] = rng.integers(116, 120, len(blocks))
    elif kind == "NVFP4":
        blocks[:, :4] = rng.integers(1, 24, (len(blocks), 4))
    return blocks.reshape(rows, -1)


def values_of(kind: str, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 [rows, cols], decoded by the package `gguf`, or by the description of types that it does not know."""
    if kind not in ("Q1_0", "Q2_0"):
        return gguf.quants.dequantize(rows, gguf.GGMLQuantizationType[kind]).astype(np.float32)
    bits = 1 if kind == "Q1_0" else 2
    blocks = rows.reshape(-1, SIZES[kind][1])
    columns = []
    for j in range(SIZES[kind][0]):
        number = blocks[:, 2 + j * bits // 8] >> (j * bits % 8) & ((1 << bits) - 1)
        level = 2.0 * number - 1 if bits == 1 else number - 1.0
        columns.append(level * blocks[:, :2].copy().view("<f2")[:, 0].astype(np.float64))
    return np.stack(columns, 1).astype(np.float32).reshape(len(rows), -1)
