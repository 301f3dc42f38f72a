"""LlamaIndex's embedding, and a node postprocessor that reranks."""

from __future__ import annotations

from typing import Any

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
except ImportError as reason:
    from qwen3cpu.integrations.models import missing

    raise missing("llama-index-core", "llama-index", reason) from reason

from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.models import Source, as_model
from qwen3cpu.model import Model


class Qwen3CpuEmbedding(BaseEmbedding):  # type: ignore[misc, unused-ignore]
    """Embeddings for an index.

    Args:
        model: a loaded embedding model, or a source for `qwen3cpu.load`.
        dimensions: keep the first dimensions of the vectors; default: all.
        instruction: what queries look for, in one sentence.
        truncate: cut the end of texts that are too long instead of raising an error.
        embed_batch_size: the number of texts that LlamaIndex passes at once; vectors do not depend on it.
        options: for `qwen3cpu.load`.

    Raises:
        ArgumentError: the model was not made for embedding. Other errors: see `qwen3cpu.load`.
    """

    _model: Model = PrivateAttr()
    _options: dict[str, Any] = PrivateAttr()
    _query: dict[str, Any] = PrivateAttr()

    def __init__(
        self,
        model: Source,
        *,
        dimensions: int | None = None,
        instruction: str | None = None,
        truncate: bool = False,
        embed_batch_size: int = 256,
        **options: Any,
    ) -> None:
        loaded = as_model(model, "embedding", options)
        super().__init__(model_name=loaded.source, embed_batch_size=embed_batch_size)
        self._model = loaded
        self._options = {"dimensions": dimensions, "truncate": truncate}
        self._query = {**self._options, "kind": "query", "instruction": instruction}

    @classmethod
    def class_name(cls) -> str:
        """The name in the files of LlamaIndex."""
        return "Qwen3CpuEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        found: list[float] = self._model.embed(query, **self._query).tolist()
        return found

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        found: list[list[float]] = self._model.embed(texts, **self._options).tolist()
        return found

    async def _aget_query_embedding(self, query: str) -> list[float]:
        found: list[float] = (await self._model.aembed(query, **self._query)).tolist()
        return found

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aget_text_embeddings([text]))[0]

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        found: list[list[float]] = (await self._model.aembed(texts, **self._options)).tolist()
        return found


class Qwen3CpuRerank(BaseNodePostprocessor):  # type: ignore[misc, unused-ignore]
    """Keeps the nodes that answer a query best, best first, with the reranker's scores.

    Args:
        model: a loaded reranker, or a source for `qwen3cpu.load`.
        top_n: the largest number of nodes.
        instruction: what makes a node a good answer, in one sentence.
        truncate: cut the end of nodes that are too long instead of raising an error.
        options: for `qwen3cpu.load`.

    Raises:
        ArgumentError: the model was not made for reranking. Other errors: see `qwen3cpu.load`.
    """

    _model: Model = PrivateAttr()
    _options: dict[str, Any] = PrivateAttr()

    def __init__(
        self,
        model: Source,
        *,
        top_n: int | None = 3,
        instruction: str | None = None,
        truncate: bool = False,
        **options: Any,
    ) -> None:
        loaded = as_model(model, "reranking", options)
        super().__init__()
        self._model = loaded
        self._options = {"top_n": top_n, "instruction": instruction, "truncate": truncate}

    @classmethod
    def class_name(cls) -> str:
        """The name in the files of LlamaIndex."""
        return "Qwen3CpuRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise ArgumentError("query_bundle: expected the query that nodes are ranked for, found none")
        texts = [each.node.get_content(metadata_mode=MetadataMode.EMBED) for each in nodes]
        ranking = self._model.rerank(query_bundle.query_str, texts, **self._options)
        return [NodeWithScore(node=nodes[place].node, score=score) for place, score in ranking]
