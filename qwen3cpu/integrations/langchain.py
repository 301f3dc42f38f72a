"""LangChain's `Embeddings`, and a document compressor that reranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

try:
    from langchain_core.callbacks import Callbacks
    from langchain_core.documents import Document
    from langchain_core.documents.compressor import BaseDocumentCompressor
    from langchain_core.embeddings import Embeddings
    from pydantic import ConfigDict
except ImportError as reason:
    from qwen3cpu.integrations.models import missing

    raise missing("langchain-core", "langchain", reason) from reason

from qwen3cpu.integrations.models import Source, as_model
from qwen3cpu.model import Model


class Qwen3CpuEmbeddings(Embeddings):  # type: ignore[misc, unused-ignore]
    """Embeddings for vector stores.

    Args:
        model: a loaded embedding model, or a source for `qwen3cpu.load`.
        dimensions: keep the first dimensions of the vectors; default: all.
        instruction: what queries look for, in one sentence.
        truncate: cut the end of texts that are too long instead of raising an error.
        options: for `qwen3cpu.load`.

    Raises:
        ArgumentError: the model was not made for embedding. Other errors: see `qwen3cpu.load`.
    """

    def __init__(
        self,
        model: Source,
        *,
        dimensions: int | None = None,
        instruction: str | None = None,
        truncate: bool = False,
        **options: Any,
    ) -> None:
        self.model = as_model(model, "embedding", options)
        self._options: dict[str, Any] = {"dimensions": dimensions, "truncate": truncate}
        self._query: dict[str, Any] = {**self._options, "kind": "query", "instruction": instruction}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Vectors of documents."""
        found: list[list[float]] = self.model.embed(texts, **self._options).tolist()
        return found

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        found: list[float] = self.model.embed(text, **self._query).tolist()
        return found

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """`embed_documents` for asyncio."""
        found: list[list[float]] = (await self.model.aembed(texts, **self._options)).tolist()
        return found

    async def aembed_query(self, text: str) -> list[float]:
        """`embed_query` for asyncio."""
        found: list[float] = (await self.model.aembed(text, **self._query)).tolist()
        return found


class Qwen3CpuReranker(BaseDocumentCompressor):  # type: ignore[misc, unused-ignore]
    """Keeps the documents that answer a query best, best first; `metadata["relevance_score"]` has their scores.

    model: a loaded reranker. top_n: the largest number of documents. instruction: what makes a document a good answer.
    truncate: cut the end of documents that are too long instead of raising an error.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    model: Model
    top_n: int | None = 3
    instruction: str | None = None
    truncate: bool = False

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """The best documents, as copies."""
        ranking = as_model(self.model, "reranking", {}).rerank(
            query,
            [document.page_content for document in documents],
            top_n=self.top_n,
            instruction=self.instruction,
            truncate=self.truncate,
        )
        return [
            documents[place].model_copy(update={"metadata": {**documents[place].metadata, "relevance_score": score}})
            for place, score in ranking
        ]
