"""Damaged files: one file of a valid model is damaged and loaded, for every form of model."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import checkpoints
from gguf_models import write_gguf
from lora_adapters import KINDS, adapter_tensors, write_adapter
from lora_gguf import write_gguf_adapter
from made_folders import write_made
from mutations import as_json, damage_bytes, damage_json
from targets import ADAPTERS, QUANTIZED, QUANTIZED_TARGETS
from torch_files import write_torch_file

import qwen3cpu

SINGLE = {"adapter-gguf": "adapter.gguf", "gguf": "model.gguf", "packed": "model.qwen3", "session": "chat.session"}
"""Target -> name of a file that is loaded by itself. The other targets are files of a folder."""
WEIGHTS = ("safetensors", "gguf", "packed", "index", "torch", *QUANTIZED_TARGETS)
"""Targets with which `load` packs the weights. With the others they stay in f32, which is faster."""
FILE_NAMES = {
    "adapter": "adapter_model.safetensors",
    "safetensors": "model.safetensors",
    "template": "chat_template.jinja",
    "index": "model.safetensors.index.json",
    "torch": "pytorch_model.bin",
}
"""Target -> name in the folder, if the two differ."""


class Files:
    """Valid files, written once into a folder, and damaged copies of them.

    Args:
        folder: an empty one, for the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        written = checkpoints.write_checkpoint(folder / "model")
        checkpoints.write_checkpoint(folder / "sharded", shards=2)
        torch = checkpoints.write_checkpoint(folder / "torch").folder
        (torch / "model.safetensors").unlink()
        tensors = {name: ("F32", values) for name, values in written.tensors.items()}
        write_torch_file(torch / "pytorch_model.bin", tensors)
        for name, made in QUANTIZED.items():
            write_made(folder / name, made)
        write_gguf(folder / SINGLE["gguf"], written.config, written.tensors)
        qwen3cpu.pack(written.folder, folder / SINGLE["packed"], "q4", threads=1)
        write_adapter(folder / "adapter", written.config, KINDS["dora"])
        tensors = adapter_tensors(written.config, KINDS["embedding"], seed=0)
        write_gguf_adapter(folder / SINGLE["adapter-gguf"], tensors)
        self._loaded = qwen3cpu.load(written.folder, quant="f32", threads=1, cache=False)
        chat = self._loaded.chat(max_new_tokens=3, temperature=0.5, seed=1)
        chat.send("hello world")
        chat.save(folder / SINGLE["session"])

    def whole(self, target: str) -> bytes:
        """Return the bytes of the valid file that a target damages."""
        return self._source(target).read_bytes()

    def damaged(self, target: str, rng: random.Random) -> bytes:
        """Return the bytes of that file with some damage."""
        data = self.whole(target)
        if target in QUANTIZED_TARGETS and target.endswith("-config"):
            values = json.loads(data)
            key = rng.choice([key for key in values if key.startswith("quantization")])
            return as_json({**values, key: damage_json(values[key], rng)})
        if self._source(target).suffix == ".json" and rng.random() < 0.7:
            return as_json(damage_json(json.loads(data), rng))
        return damage_bytes(data, rng)

    def use(self, target: str, data: bytes) -> None:
        """Replace that file by these bytes, and load the model, adapter or session that it belongs to."""
        source = self._source(target)
        if target in SINGLE:
            path = loaded = self._folder / f"damaged{source.suffix}"
        else:
            loaded = self._folder / f"damaged {target}"
            path = loaded / source.name
            if not loaded.exists():
                shutil.copytree(source.parent, loaded)
        path.unlink(missing_ok=True)  # not overwritten, because an earlier case may have it mapped
        path.write_bytes(data)
        if target == "session":
            self._resume(path)
        elif target in ADAPTERS:
            self._adapt(loaded)
        else:
            answer(loaded, None if target in WEIGHTS else "f32")

    def _source(self, target: str) -> Path:
        if target in SINGLE:
            return self._folder / SINGLE[target]
        if target in QUANTIZED_TARGETS:
            name, _, part = target.rpartition("-")
            return self._folder / name / ("config.json" if part == "config" else "model-00001-of-00002.safetensors")
        folders = {"index": "sharded", "torch": "torch", **dict.fromkeys(ADAPTERS, "adapter")}
        folder = self._folder / folders.get(target, "model")
        return folder / FILE_NAMES.get(target, target)

    def _adapt(self, folder: Path) -> None:
        self._loaded.adapters.load("damaged", folder, replace=True)
        self._loaded.generate("hello", adapter="damaged", max_new_tokens=2, seed=1)

    def _resume(self, path: Path) -> None:
        chat = self._loaded.resume(path)
        chat.send("and you?", max_new_tokens=2)
        chat.close()


def answer(path: Path, quant: str | None) -> None:
    """Load a model and let it answer."""
    model = qwen3cpu.load(path, quant, threads=1, cache=False, context=256)
    model.generate("hello", max_new_tokens=2, seed=1)
