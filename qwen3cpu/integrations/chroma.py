"""An embedding function for Chroma, whose collections store it by name and configuration."""

from __future__ import annotations

import os
from typing import Any, Final

try:
    from chromadb.api.types import Documents, EmbeddingFunction, Embeddings, Space
    from chromadb.utils.embedding_functions import register_embedding_function
except ImportError as reason:
    from qwen3cpu.integrations.models import missing

    raise missing("chromadb", "chroma", reason) from reason

from qwen3cpu.checkpoint.tensors import Quant
from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.models import Source, as_model

STORED_OPTIONS: Final = ("context", "kv", "activations", "rope_scaling")
"""Options of `qwen3cpu.load` that a collection stores, because vectors depend on them."""


@register_embedding_function
class Qwen3CpuEmbeddingFunction(EmbeddingFunction[Documents]):  # type: ignore[misc, unused-ignore]
    """Vectors for a collection; queries get the model's instruction.

    Args:
        model: a loaded embedding model, or a source for `qwen3cpu.load`. A collection stores its name, and Chroma loads
            it again when the collection is opened.
        quant: weight format, for `qwen3cpu.load`.
        dimensions: keep the first dimensions of the vectors; default: all.
        instruction: what queries look for, in one sentence.
        truncate: cut the end of texts that are too long instead of raising an error.
        threads: for `qwen3cpu.load`; a collection does not store it.
        options: further options of `qwen3cpu.load`: context, kv, activations, rope_scaling.

    Raises:
        ArgumentError: the model was not made for embedding. Other errors: see `qwen3cpu.load`.
    """

    def __init__(
        self,
        model: Source,
        *,
        quant: Quant | None = None,
        dimensions: int | None = None,
        instruction: str | None = None,
        truncate: bool = False,
        threads: int | None = None,
        **options: Any,
    ) -> None:
        unknown = options.keys() - set(STORED_OPTIONS)
        if unknown:
            raise ArgumentError(f"expected one of {', '.join(STORED_OPTIONS)}, found {', '.join(sorted(unknown))}")
        given = {"quant": quant, "threads": threads, **options}
        self.model = as_model(model, "embedding", {name: value for name, value in given.items() if value is not None})
        self._documents: dict[str, Any] = {"dimensions": dimensions, "truncate": truncate}
        self._queries: dict[str, Any] = {**self._documents, "kind": "query", "instruction": instruction}

    def __call__(self, input: Documents) -> Embeddings:
        """Vectors of documents."""
        return list(self.model.embed(input, **self._documents))

    def embed_query(self, input: Documents) -> Embeddings:
        """Vectors of queries."""
        return list(self.model.embed(input, **self._queries))

    @staticmethod
    def name() -> str:
        """The name that a collection stores."""
        return "qwen3cpu"

    def default_space(self) -> Space:
        """Cosine, for which the models are trained. All vectors have length 1."""
        return "cosine"

    def get_config(self) -> dict[str, Any]:
        """The configuration that a collection stores. Paths are absolute."""
        arguments = self.model.load_arguments()
        return {
            "model": os.fsdecode(arguments.get("source", self.model.source)),
            "quant": self.model.quant,
            **{name: arguments[name] for name in STORED_OPTIONS if arguments.get(name) is not None},
            "dimensions": self._documents["dimensions"],
            "instruction": self._queries["instruction"],
            "truncate": self._documents["truncate"],
        }

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Qwen3CpuEmbeddingFunction:
        """Make the function with this configuration."""
        return Qwen3CpuEmbeddingFunction(**config)
