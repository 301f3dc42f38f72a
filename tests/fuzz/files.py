"""Damaged files: a valid model in every form that can be loaded, of which one file is damaged and loaded."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import checkpoints
from gguf_models import write_gguf
from mutations import as_json, damage_bytes, damage_json

import qwen3cpu

Case = Callable[[], None]


class Files:
    """Valid files, written once into a folder, and damaged copies of them.

    Args:
        folder: an empty one, for the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        written = checkpoints.write_checkpoint(folder / "model")
        self._model = written.folder
        checkpoints.write_checkpoint(folder / "sharded", shards=2)
        self._gguf = folder / "model.gguf"
        write_gguf(self._gguf, written.config, written.tensors)
        self._packed = folder / "model.qwen3"
        qwen3cpu.pack(self._model, self._packed, "q4", threads=1)
        self._session = folder / "chat.session"
        self._loaded = qwen3cpu.load(self._model, quant="f32", threads=1, cache=False)
        chat = self._loaded.chat(max_new_tokens=3, temperature=0.5, seed=1)
        chat.send("hello world")
        chat.save(self._session)

    def case(self, target: str, rng: random.Random) -> Case:
        """Write one damaged file; the call that is returned loads it."""
        if target in ("gguf", "packed"):
            source = self._gguf if target == "gguf" else self._packed
            path = self._folder / f"damaged{source.suffix}"
            path.unlink(missing_ok=True)  # never written over: an earlier case may have it mapped
            path.write_bytes(damage_bytes(source.read_bytes(), rng))
            return lambda: use(path)
        if target == "session":
            path = self._folder / "damaged.session"
            path.write_bytes(damage_bytes(self._session.read_bytes(), rng))
            return lambda: self._resume(path)
        folder = self._folder / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._folder / "sharded" if target == "index" else self._model, folder)
        name = {"safetensors": "model.safetensors", "template": "chat_template.jinja"}.get(target, target)
        path = folder / ("model.safetensors.index.json" if target == "index" else name)
        data = path.read_bytes()
        if path.suffix == ".json" and rng.random() < 0.7:
            path.write_bytes(as_json(damage_json(json.loads(data), rng)))
        else:
            path.write_bytes(damage_bytes(data, rng))
        return lambda: use(folder)

    def _resume(self, path: Path) -> None:
        chat = self._loaded.resume(path)
        chat.send("and you?", max_new_tokens=2)
        chat.close()


def use(path: Path) -> None:
    """Load a model and let it answer."""
    model = qwen3cpu.load(path, threads=1, cache=False, context=256)
    model.generate("hello", max_new_tokens=2, seed=1)
