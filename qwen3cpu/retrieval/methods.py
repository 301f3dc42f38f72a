"""The methods of a loaded model for search: `embed`, `embed_stream`, `aembed` and `rerank`."""

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
    """Gives `qwen3cpu.Model` its methods for search."""

    @property
    def embedder(self) -> Embedder:
        """The embedder behind `embed`. Raises ArgumentError when the model was not made for embedding."""
        raise NotImplementedError

    @property
    def reranker(self) -> Reranker:
        """The reranker behind `rerank`. Raises ArgumentError when the model was not made for reranking."""
        raise NotImplementedError

    def embed(
        self, texts: Text | Iterable[Text], *, progress: Progress | None = None, **options: Unpack[EmbedOptions]
    ) -> NDArray[Any]:
        """Return vectors of texts, made by an embedding model.

        A text's vector has the same bits whatever other texts are embedded with it. A beginning that texts share, such
        as an instruction, is processed once for some hundred of them.

        Args:
            texts: a str gives one vector [d]; any iterable of texts gives [n, d]. A text may also be its token ids. The
                end token is added if it is missing.
            progress: a bar to use. Default: for many texts on a terminal, a new bar with the time left.
            options: see `qwen3cpu.EmbedOptions`.

        Raises:
            ArgumentError: an option that is unknown or not allowed, or a model that was not made for embedding.
            ContextLengthError: a text is longer than the model allows, and `truncate` is not set.
        """
        from qwen3cpu.retrieval import jobs

        return jobs.embed(self.embedder, texts, progress, options)

    def embed_stream(
        self, texts: Iterable[Text], **options: Unpack[EmbedOptions]
    ) -> Generator[NDArray[Any], None, None]:
        """Yield the same vectors as `embed`, some hundred at a time: arrays [n, d]. Texts need not fit into memory."""
        return self.embedder.windows(texts, **options)

    async def aembed(self, texts: Text | Iterable[Text], **options: Unpack[EmbedOptions]) -> NDArray[Any]:
        """As `embed`, for asyncio. Cancelling stops the work within some hundred texts and frees its memory."""
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
        """Score with a reranker how well documents answer a query: scores between 0 and 1, and the order, best first.

        The instruction and the query are processed once for some hundred documents.

        Args:
            query: the question or search text.
            documents: texts.
            progress: as for `embed`.
            options: see `qwen3cpu.RerankOptions`.

        Raises:
            ArgumentError: an option that is unknown or not allowed, or a model that was not made for reranking.
            ContextLengthError: query and document are longer than the model allows, and `truncate` is not set.
        """
        from qwen3cpu.retrieval import jobs

        return jobs.rerank(self.reranker, query, documents, progress, options)
