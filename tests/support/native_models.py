"""Builds `_native.Model` objects directly from arrays, without files and loader."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.packed.matrix import PackedMatrix

Matrices = dict[str, PackedMatrix]
Weights = Mapping[str, NDArray[np.float32]]

TABLES = ("model.embed_tokens.weight", "lm_head.weight")


def pack(weight_format: str, weights: NDArray[np.float32]) -> PackedMatrix:
    """One matrix [rows, cols]."""
    rows, cols = weights.shape
    size = _native.matrix_bytes(weight_format, rows, cols)
    memory = np.zeros(size + 63, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    out = memory[start : start + size]
    _native.pack_into(weight_format, np.ascontiguousarray(weights), out, rows, 0, 1)
    return PackedMatrix(weight_format, rows, cols, out)


def pack_all(quant: str, weights: Weights) -> Matrices:
    """Every matrix of a model. As in the package, routers are f32. "q4" keeps embedding, head and v_proj in q8."""
    return {name: pack(_format(name, quant), values) for name, values in weights.items() if values.ndim == 2}


def _format(name: str, quant: str) -> str:
    if name.endswith("mlp.gate.weight"):
        return "f32"
    return "q8" if quant == "q4" and (name in TABLES or "v_proj" in name) else quant


def vectors(weights: Weights) -> dict[str, NDArray[np.float32]]:
    """Norm weights and biases."""
    return {name: values for name, values in weights.items() if values.ndim == 1}


def native_model(
    config: Mapping[str, Any],
    weights: Weights,
    quant: str = "f32",
    *,
    kv: str = "f32",
    threads: int = 1,
    context: int = 512,
    matrices: Matrices | None = None,
    int16_inputs: bool = False,
) -> _native.Model:
    """A model of one weight format. matrices: packed matrices to use."""
    native_config = ModelConfig.from_dict(config, "test").native(context, int16_inputs=int16_inputs)
    packed = pack_all(quant, weights) if matrices is None else matrices
    return _native.Model(native_config, packed, vectors(weights), kv, threads)


def all_logits(model: _native.Model, ids: NDArray[np.int32]) -> NDArray[np.float32]:
    """The logits [tokens, vocab_size] of one new sequence, in one call."""
    sequence = model.new_sequence()
    (logits,) = model.forward([(sequence, ids, np.arange(len(ids), dtype=np.int32))])
    sequence.release()
    return logits


def greedy(model: _native.Model, prompt: NDArray[np.int32], count: int) -> list[int]:
    """The `count` tokens with the largest logits after `prompt`."""
    sequence, tokens, out = model.new_sequence(), prompt, []
    for _ in range(count):
        last = np.array([len(tokens) - 1], dtype=np.int32)
        (logits,) = model.forward([(sequence, tokens, last)])
        tokens = logits.argmax(1).astype(np.int32)
        out.append(int(tokens[0]))
    sequence.release()
    return out


def offsets(*values: int) -> NDArray[np.int32]:
    """Places among new tokens, in the form for `_native.Model.forward`."""
    return np.array(values, dtype=np.int32)


def append(model: _native.Model, sequence: _native.Sequence, ids: NDArray[np.int32]) -> NDArray[np.float32]:
    """Append tokens and return the logits of the last one."""
    return model.forward([(sequence, ids, offsets(len(ids) - 1))])[0][0]
