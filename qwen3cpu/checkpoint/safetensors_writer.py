"""Writes safetensors files tensor by tensor; large models become shards with an index."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.mapped_tensors import DTYPE_BYTES

MOST_SHARD: Final = 4 << 30
_ALIGNED: Final = 8


class TensorToWrite(NamedTuple):
    """A tensor to write: its safetensors dtype, its shape, and a function that yields its values in pieces."""

    dtype: str
    shape: tuple[int, ...]
    pieces: Callable[[], Iterable[NDArray[Any]]]

    @property
    def size(self) -> int:
        """Bytes of the tensor."""
        return prod(self.shape) * DTYPE_BYTES[self.dtype]


def write_model(folder: Path, tensors: Mapping[str, TensorToWrite], most_shard: int = MOST_SHARD) -> None:
    """Write model.safetensors, or shards of at most `most_shard` bytes and their index.

    A tensor that is larger than `most_shard` gets a shard of its own.
    """
    shards: list[dict[str, TensorToWrite]] = [{}]
    for name, tensor in tensors.items():
        if shards[-1] and sum(each.size for each in shards[-1].values()) + tensor.size > most_shard:
            shards.append({})
        shards[-1][name] = tensor
    if len(shards) == 1:
        _write(folder / "model.safetensors", shards[0])
        return
    weight_map = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _write(folder / file, shard)
        weight_map.update(dict.fromkeys(shard, file))
    total = sum(tensor.size for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _write(path: Path, tensors: Mapping[str, TensorToWrite]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + tensor.size
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            for piece in tensor.pieces():
                file.write(np.ascontiguousarray(piece).data)
