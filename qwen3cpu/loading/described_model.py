"""What a loaded model is: its source, shapes, formats and sizes."""

from __future__ import annotations

from pathlib import Path

from qwen3cpu.checkpoint.config import GenerationDefaults, ModelConfig
from qwen3cpu.checkpoint.purpose import Task
from qwen3cpu.engine.engine import Engine
from qwen3cpu.engine.formats import KV_BLOCK
from qwen3cpu.loading.loaded_model import Checkpoint
from qwen3cpu.system.thread_count import resolve_threads


class DescribedModel:
    """Gives `qwen3cpu.Model` its properties."""

    _checkpoint: Checkpoint
    engine: Engine
    """Sequences and the forward pass."""

    @property
    def source(self) -> str:
        """Where it was loaded from."""
        return self._checkpoint.source

    @property
    def config(self) -> ModelConfig:
        """Shapes and constants, from config.json."""
        return self._checkpoint.config

    @property
    def generation_defaults(self) -> GenerationDefaults:
        """The sampling defaults from generation_config.json."""
        return self._checkpoint.generation

    @property
    def quant(self) -> str:
        """Weight format, as given to `load`."""
        return self._checkpoint.quant

    @property
    def packed_path(self) -> Path | None:
        """The packed file that the weights are mapped from; None when they were packed in memory."""
        return self._checkpoint.packed_path

    @property
    def fingerprint(self) -> str:
        """Identifies the checkpoint. A saved conversation can continue only with the same one."""
        return self._checkpoint.fingerprint

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights in memory."""
        return self._checkpoint.weight_bytes

    @property
    def format_bytes(self) -> dict[str, int]:
        """Bytes of the weight matrices by format; "vectors" are the float32 norms and biases."""
        counted: dict[str, int] = {}
        for matrix in self._checkpoint.matrices.values():
            counted[matrix.format] = counted.get(matrix.format, 0) + matrix.data.nbytes
        return counted | {"vectors": sum(vector.nbytes for vector in self._checkpoint.vectors.values())}

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes that the KV cache takes for each position."""
        return self.engine.native.kv_block_bytes() / KV_BLOCK

    @property
    def context(self) -> int:
        """Positions that a sequence may hold."""
        return self.engine.context

    @property
    def threads(self) -> int:
        """Threads of a forward pass; may be set between calls. The number changes the speed, never a result."""
        return self.engine.threads

    @threads.setter
    def threads(self, threads: int) -> None:
        self.engine.threads = resolve_threads(threads)

    @property
    def chat_template(self) -> str | None:
        """The text of the checkpoint's template."""
        return self._checkpoint.chat_template

    @property
    def task(self) -> Task:
        """What it was made for: "generation", "embedding" or "reranking"."""
        return self._checkpoint.purpose.task
