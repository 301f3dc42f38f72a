"""The options of `Model.embed` and `Model.rerank`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from qwen3cpu.retrieval.embedder import Kind
    from qwen3cpu.retrieval.vectors import Dtype


class EmbedOptions(TypedDict, total=False):
    """Options of `Model.embed`, `Model.embed_stream` and `Model.aembed`."""

    kind: Kind
    """"query" puts the instruction before each text, "document" (the default) nothing."""
    instruction: str | None
    """What queries look for, in one sentence. Default: the one in the model's files, or that of a web search."""
    dimensions: int | None
    """Keep only this many dimensions, the first of hidden_size (Matryoshka). Default: all."""
    normalize: bool
    """Scale vectors to length 1 (the default), so that their products are cosines. For float32 only."""
    dtype: Dtype
    """"float32" (the default), "int8" (values times 127 / the largest of the vector) or "binary". A binary vector is
    uint8 with one bit for each dimension, set if the value is above zero. The first bit is the highest."""
    truncate: bool
    """Cut texts that are too long at the end instead of raising an error."""


class RerankOptions(TypedDict, total=False):
    """Options of `Model.rerank`."""

    instruction: str | None
    """What makes a document a good answer, in one sentence. Default: that of a web search."""
    top_n: int | None
    """Number of documents in the order, the best ones. Default: all."""
    max_tokens_per_doc: int | None
    """Use at most this many tokens of each document, the first ones. Default: all."""
    truncate: bool
    """Cut documents that are too long at the end instead of raising an error."""
