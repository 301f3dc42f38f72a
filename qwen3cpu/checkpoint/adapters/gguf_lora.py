"""A LoRA adapter in a GGUF file, as llama.cpp's converter writes it."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.adapters.contents import AdapterContents, ModelTensors
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.gguf_file import GgufFile
from qwen3cpu.checkpoint.json_fields import brief
from qwen3cpu.checkpoint.tensors import EMBEDDING, HEAD, ROWS, tensors_of
from qwen3cpu.errors import AdapterError

_EXPECTED: Final = {"general.type": "adapter", "general.architecture": "qwen3", "adapter.type": "lora"}
_ALPHA: Final = "adapter.lora.alpha"
_INVOCATION: Final = "adapter.alora.invocation_tokens"
_PARTS: Final = (".lora_a", ".lora_b")
_Q8_0: Final = "Q8_0"
_PLAIN: Final[dict[str, np.dtype[Any]]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


def read_gguf_lora(path: Path, config: ModelConfig) -> AdapterContents:
    """Read the adapter in a GGUF file, for a model of this configuration.

    The product `b a` is multiplied by alpha / rank, as in llama.cpp, or by 1 if alpha is 0.

    Raises:
        AdapterError: the file is not an adapter, or its tensors do not fit the model.
        CheckpointError: the file is damaged.
    """
    file = GgufFile(path)
    for key, expected in _EXPECTED.items():
        if file.metadata.get(key) != expected:
            raise AdapterError(f"{path}: {key}: expected {expected!r}, found {brief(file.metadata.get(key))}")
    if file.metadata.get(_INVOCATION):
        raise AdapterError(f"{path}: {_INVOCATION}: expected no such tokens (activated LoRA is not supported)")
    alpha = file.metadata.get(_ALPHA)
    if not isinstance(alpha, (int, float)) or isinstance(alpha, bool) or not math.isfinite(alpha):
        raise AdapterError(f"{path}: {_ALPHA}: expected a number, found {brief(alpha)}")
    model = ModelTensors(config, path)
    names = {tensor.gguf_name: tensor.name for tensor in tensors_of(config)}
    names.setdefault(ROWS[HEAD].gguf, HEAD)
    parts: dict[str, dict[str, NDArray[Any]]] = {}
    norms: dict[str, NDArray[Any]] = {}
    for stored in file.tensors:
        part = stored[-len(_PARTS[0]) :]
        is_part = part in _PARTS
        name = names.get(stored.removesuffix(part) if is_part else stored)
        if name is None or model.is_matrix(name) != is_part:
            raise AdapterError(
                f"{path}: tensor {stored!r}: expected a norm, or .lora_a or .lora_b of a matrix of this model, found "
                f"another tensor: {model.another_model}?"
            )
        if is_part:
            parts.setdefault(name, {})[part] = _array(file, stored, 2)
        else:
            norms[name] = model.whole(name, _array(file, stored, 1))
    low_rank = {}
    for name in model:
        found = parts.get(name)
        if found is None:
            continue
        if found.keys() != set(_PARTS):
            raise AdapterError(f"{path}: {name}: expected .lora_a and .lora_b, found only {', '.join(found)}")
        a, b = (found[part] for part in _PARTS)
        if name == EMBEDDING:
            a = np.ascontiguousarray(a.T)  # the file stores a row for each token
        low_rank[name] = model.low_rank(name, a, b, alpha / b.shape[-1] if alpha else 1.0)
    if not low_rank and not norms:
        raise AdapterError(f"{path}: expected tensors of an adapter, found none")
    return AdapterContents(path, _identity(file), low_rank, norms)


def _array(file: GgufFile, name: str, dimensions: int) -> NDArray[Any]:
    """Read a tensor. Raises AdapterError for other dimensions, or a type that the converter does not write."""
    tensor = file.tensors[name]
    if tensor.type not in (*_PLAIN, _Q8_0) or len(tensor.shape) != dimensions:
        raise AdapterError(
            f"{file.path}: tensor {name!r}: expected {dimensions} dimensions in {', '.join(_PLAIN)} or {_Q8_0}, found "
            f"{tensor.type} {list(tensor.shape)}"
        )
    stored = file.rows(name, 0, math.prod(tensor.shape[:-1])).copy()
    values: NDArray[Any]
    if tensor.type == _Q8_0:
        blocks = stored.reshape(-1, 34)  # an f16 scale and 32 int8 each
        values = blocks[:, :2].copy().view("<f2").astype(np.float32) * blocks[:, 2:].view(np.int8)
    else:
        values = stored.view(_PLAIN[tensor.type])
    return values.reshape(tensor.shape)


def _identity(file: GgufFile) -> str:
    digest = hashlib.sha256(b"gguf")
    with file.path.open("rb") as data:
        while piece := data.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
