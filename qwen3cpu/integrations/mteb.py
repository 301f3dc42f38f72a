"""A model for `mteb.evaluate`, the benchmark of text embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from mteb.models import ModelMeta
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.types import PromptType
except ImportError as reason:
    from qwen3cpu.integrations.models import missing

    raise missing("mteb", "mteb", reason) from reason

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.engine.formats import DEFAULT_ACTIVATIONS
from qwen3cpu.integrations.models import Source, as_model

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata


class Qwen3CpuEncoder(AbsEncoder):  # type: ignore[misc, unused-ignore]
    """Embeds the texts of tasks like the authors of Qwen3-Embedding: all but documents get the task's instruction.

    Args:
        model: a loaded embedding model, or a source for `qwen3cpu.load`.
        revision: the model's revision, for mteb's files. Settings that change vectors are appended.
        dimensions: keep the first dimensions of the vectors; default: all.
        device: has no effect; mteb passes it to every model.
        options: for `qwen3cpu.load`.

    Raises:
        ArgumentError: the model was not made for embedding. Other errors: see `qwen3cpu.load`.
    """

    def __init__(
        self,
        model: Source,
        revision: str | None = None,
        *,
        dimensions: int | None = None,
        device: str | None = None,
        **options: Any,
    ) -> None:
        self.model = as_model(model, "embedding", options)
        self._dimensions = dimensions
        name = self.model.source.strip("/").replace("/", "__")
        about = {
            "name": f"qwen3cpu/{name}-{self.model.quant}",
            "revision": f"{revision or self.model.fingerprint[:16]}{self._settings()}",
        }
        self.mteb_model_meta = ModelMeta.create_empty(about)

    def _settings(self) -> str:
        """What is not the default and changes vectors: mteb looks results up by the name and the revision."""
        model = self.model
        about = {
            "dimensions": self._dimensions,
            "activations": None if model.activations == DEFAULT_ACTIVATIONS else model.activations,
            "kv": None if model.kv == "f16" else model.kv,
            "rope": None if model.config.rope_scaling is None else model.config.rope_digest()[:8],
        }
        return "".join(f"-{name}-{value}" for name, value in about.items() if value is not None)

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> NDArray[np.float32]:
        """Vectors [n, d] of the texts of a data loader."""
        texts = [text for batch in inputs for text in batch["text"]]
        if prompt_type == PromptType.document:
            return self.model.embed(texts, dimensions=self._dimensions, truncate=True)
        instruction = self.get_instruction(task_metadata, prompt_type) or None
        if isinstance(instruction, dict):  # for a task with several instructions and texts without a type
            instruction = instruction.get(PromptType.query.value)
        return self.model.embed(
            texts, kind="query", instruction=instruction, dimensions=self._dimensions, truncate=True
        )
