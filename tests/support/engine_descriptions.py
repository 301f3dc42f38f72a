"""Descriptions of models for engine_check, and its expected answers (tests/csrc/standalone/engine_check)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import qwen3cpu
from qwen3cpu.checkpoint.safetensors_file import SafetensorsFile
from qwen3cpu.packed.packed_file import PackedFile


def describe(path: Path, config: Mapping[str, Any], prompts: Sequence[Sequence[int]], answer: int) -> str:
    """The description of a packed file for engine_check.

    config: in the form for `_native.Model`. answer: number of tokens after each prompt.
    """
    packed, places = PackedFile(path), SafetensorsFile(path).tensors
    lines = list(_config_lines(config))
    for name, m in packed.matrices.items():
        lines.append(f"matrix {name} {m.format} {m.rows} {m.cols} {places[name].start}")
    lines += [f"vector {name} {values.size} {places[name].start}" for name, values in packed.vectors.items()]
    lines += [f"prompt {_words(prompt)}" for prompt in prompts]
    return "\n".join([*lines, f"answer {answer}", ""])


def _config_lines(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _config_lines(value, f"{name}.")
        else:
            yield f"{prefix}{name} {_words(value)}"


def _words(value: Any) -> str:
    """The form that description.cc reads: a list begins with its length, a float is the integer of its bits."""
    if isinstance(value, list | tuple | np.ndarray):
        return " ".join([str(len(value)), *map(_words, value)])
    return str(np.float32(value).view(np.uint32) if isinstance(value, float | np.floating) else int(value))


def golden(path: Path, kv: Any, activations: Any, prompts: Sequence[Sequence[int]], answer: int) -> bytes:
    """The expected output of engine_check: logits of all positions and then the answer, prompt for prompt."""
    model = qwen3cpu.load(path, kv=kv, threads=1, activations=activations)
    written = b""
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(answer):
            ids.append(int(model.logits(ids)[-1].argmax()))
        written += model.logits(ids).tobytes() + np.int32(ids[len(prompt) :]).tobytes()
    return written
