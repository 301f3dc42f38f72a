"""What a loaded model offers for search: `embed` and its relatives, and `rerank`."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from qwen3cpu.system.progress_bar import Progress

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from qwen3cpu.retrieval.embedder import Embedder
    from qwen3cpu.retrieval.options import EmbedOptions, RerankOptions
    from qwen3cpu.retrieval.ranking import Ranking
    from qwen3cpu.retrieval.reranker import Reranker
    from qwen3cpu.retrieval.texts import Text


class SearchMethods:
    """The methods. `qwen3cpu.Model` has them."""

    @property
    def embedder(self) -> Embedder:
        """What `embed` works with. Raises ArgumentError when the model was not made for embedding."""
        raise NotImplementedError

    @property
    def reranker(self) -> Reranker:
        """What `rerank` works with. Raises ArgumentError when the model was not made for reranking."""
        raise NotImplementedError

    def embed(
        self, texts: Text | Iterable[Text], *, progress: Progress | None = None, **options: Unpack[EmbedOptions]
    ) -> NDArray[Any]:
        """Vectors of texts, by an embedding model.

        A text's vector is the same bits alone and in any company. A beginning that texts share, such as an instruction,
        is processed once for some hundred of them.

        Args:
            texts: a str gives one vector [d]; any iterable of texts gives [n, d]. A text may be its token ids too. The
                end token is added where it is missing.
            progress: shown while it works; default: a bar with the time left, on a terminal, for many texts.
            options: see `qwen3cpu.EmbedOptions`.

        Raises:
            ArgumentError: an option that is unknown or not allowed; a model that was not made for embedding.
            ContextLengthError: a text is longer than the model allows, and `truncate` is not set.
        """
        from qwen3cpu.retrieval import jobs

        return jobs.embed(self.embedder, texts, progress, options)

    def embed_stream(
        self, texts: Iterable[Text], **options: Unpack[EmbedOptions]
    ) -> Generator[NDArray[Any], None, None]:
        """The same vectors, some hundred at a time: arrays [n, d], for more texts than fit into memory."""
        return self.embedder.windows(texts, **options)

    async def aembed(self, texts: Text | Iterable[Text], **options: Unpack[EmbedOptions]) -> NDArray[Any]:
        """As `embed`, for asyncio. Cancelling stops within some hundred texts and leaves nothing behind."""
        from qwen3cpu.retrieval import jobs

        return await jobs.aembed(self.embedder, texts, options)

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        progress: Progress | None = None,
        **options: Unpack[RerankOptions],
    ) -> Ranking:
        """How well documents answer a query, by a reranker: scores between 0 and 1, and the order, best first.

        The instruction and the query are processed once for some hundred documents.

        Args:
            query: what is looked for.
            documents: texts.
            progress: as for `embed`.
            options: see `qwen3cpu.RerankOptions`.

        Raises:
            ArgumentError: an option that is unknown or not allowed; a model that was not made for reranking.
            ContextLengthError: query and document are longer than the model allows, and `truncate` is not set.
        """
        from qwen3cpu.retrieval import jobs

        return jobs.rerank(self.reranker, query, documents, progress, options)
