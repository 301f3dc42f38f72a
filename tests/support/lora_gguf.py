"""LoRA adapters in GGUF files in the form of llama.cpp's converter, written with the `gguf` package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
from gguf_models import gguf_name
from numpy.typing import NDArray

TYPES: Final = {name: gguf.GGMLQuantizationType[name] for name in ("F32", "F16", "BF16", "Q8_0")}
_PARTS: Final = {
    ".lora_A.weight": ".lora_a",
    ".lora_embedding_A": ".lora_a",
    ".lora_B.weight": ".lora_b",
    ".lora_embedding_B": ".lora_b",
}


def write_gguf_adapter(
    path: Path,
    tensors: Mapping[str, NDArray[np.float32]],
    alpha: float | None = 8.0,
    kind: str = "F32",
    *,
    arch: str = "qwen3",
    type: str = gguf.GGUFType.ADAPTER,
    adapter_type: str = "lora",
    tokens: list[int] | None = None,
) -> Path:
    """Write the file that the converter makes from the tensors of a PEFT folder. Returns `path`.

    Args:
        path: the file.
        tensors: by their names in adapter_model.safetensors; other names are not changed.
        alpha: adapter.lora.alpha; None: no such key.
        kind: one of TYPES, for the matrices whose rows are whole blocks.
        arch: general.architecture.
        type: general.type.
        adapter_type: adapter.type.
        tokens: adapter.alora.invocation_tokens.
    """
    writer = gguf.GGUFWriter(path, arch)
    writer.add_type(type)
    writer.add_string(gguf.Keys.Adapter.TYPE, adapter_type)
    if alpha is not None:
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    if tokens is not None:
        writer.add_array("adapter.alora.invocation_tokens", tokens)
    for name, values in tensors.items():
        own = _name(name)
        stored: Any = np.ascontiguousarray(values.T if own == "token_embd.weight.lora_a" else values)
        chosen = "F32" if stored.ndim == 1 or (kind == "Q8_0" and stored.shape[-1] % 32) else kind
        writer.add_tensor(own, gguf.quants.quantize(stored, TYPES[chosen]), raw_dtype=TYPES[chosen])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _name(name: str) -> str:
    name = name.removeprefix("base_model.model.")
    for part, end in _PARTS.items():
        if name.endswith(part):
            return gguf_name(name.removesuffix(part) + ".weight") + end
    return gguf_name(name) if name.startswith("model.") else name
