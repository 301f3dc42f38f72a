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
    """What queries look for, in one sentence. Default: what the model's files say, or that of a web search."""
    dimensions: int | None
    """The first so many of hidden_size (Matryoshka). Default: all."""
    normalize: bool
    """Vectors of length 1 (the default), so that their products are cosines. Of float32 only."""
    dtype: Dtype
    """"float32" (the default), "int8" (the values times 127 / the largest of their vector) or "binary" (uint8: one bit
    for each dimension, set where the value is above zero; the first in the highest bit)."""
    truncate: bool
    """Cut texts that are too long at the end, in place of an error."""


class RerankOptions(TypedDict, total=False):
    """Options of `Model.rerank`."""

    instruction: str | None
    """What makes a document a good answer, in one sentence. Default: that of a web search."""
    top_n: int | None
    """The best so many documents in the order. Default: all."""
    max_tokens_per_doc: int | None
    """Use the first so many tokens of each document. Default: all."""
    truncate: bool
    """Cut documents that are too long at the end, in place of an error."""
