"""The methods of sentence-transformers' `SentenceTransformer` that embed, without sentence-transformers and torch.

    from qwen3cpu.integrations.sentence_transformers import SentenceTransformer

Vectors are those of sentence-transformers up to rounding. Two things differ. `precision="int8"` scales each vector by
its own largest value, so that a vector does not depend on the others; sentence-transformers takes the ranges of all
given vectors. And `similarity` of NumPy arrays returns a NumPy array.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.arguments import whole_number
from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.models import Source, as_model
from qwen3cpu.retrieval.embedder import KINDS
from qwen3cpu.retrieval.vectors import Dtype

Precision: TypeAlias = Literal["float32", "int8", "binary", "ubinary"]
_DTYPES: Final[dict[str, Dtype]] = {"float32": "float32", "int8": "int8", "binary": "binary", "ubinary": "binary"}


class SentenceTransformer:
    """A drop-in replacement for code that calls `encode` and its variants.

    Args:
        model: a loaded embedding model, or a source for `qwen3cpu.load`.
        truncate_dim: keep the first dimensions of the vectors; default: all.
        options: for `qwen3cpu.load`.

    Raises:
        ArgumentError: the model was not made for embedding, or a number is not allowed. Other errors: see
        `qwen3cpu.load`.
    """

    similarity_fn_name = "cosine"

    def __init__(self, model: Source, truncate_dim: int | None = None, **options: Any) -> None:
        self.model = as_model(model, "embedding", options)
        self.truncate_dim = self._checked(truncate_dim)

    @property
    def max_seq_length(self) -> int:
        """The number of tokens of the context. Longer texts are cut, as in sentence-transformers."""
        return self.model.context

    def get_sentence_embedding_dimension(self) -> int:
        """Dimensions of a vector of `encode`."""
        return self.truncate_dim or self.model.config.hidden_size

    get_embedding_dimension = get_sentence_embedding_dimension

    def encode_query(self, inputs: str | Sequence[str], prompt_name: str | None = None, **options: Any) -> Any:
        """`encode` queries: with the model's prompt "query", unless `prompt` or `prompt_name` is given."""
        if prompt_name is None and options.get("prompt") is None:
            prompt_name = "query"
        return self.encode(inputs, prompt_name, **options)

    def encode_document(self, inputs: str | Sequence[str], prompt_name: str | None = None, **options: Any) -> Any:
        """`encode` documents."""
        if prompt_name is None and options.get("prompt") is None:
            prompt_name = "document"
        return self.encode(inputs, prompt_name, **options)

    def encode(
        self,
        inputs: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: Literal["sentence_embedding"] = "sentence_embedding",
        precision: Precision = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
    ) -> Any:
        """Vectors of texts: an array or tensor [n, d], or [d] for one text.

        Args:
            inputs: a text or texts.
            prompt_name: "query" or "document".
            prompt: a text before every text, instead of that of prompt_name.
            batch_size: has no effect, because texts are batched by their lengths.
            show_progress_bar: has no effect. A bar is shown on a terminal when there are many texts.
            output_value: only "sentence_embedding".
            precision: "float32" or one of these. "int8": the values times 127 / the largest of their vector. "ubinary":
                uint8, a bit for each dimension, the first in the highest bit. "binary": the same minus 128, as int8.
            convert_to_numpy: False returns a list of tensors.
            convert_to_tensor: return one tensor.
            device: "cpu" or None.
            normalize_embeddings: scale to length 1 after truncate_dim. The model's full vectors always have length 1.
            truncate_dim: overrides that of the object.

        Raises:
            ArgumentError: a value is not allowed.
            ImportError: a tensor is requested, and torch is not installed.
        """
        if output_value != "sentence_embedding":
            raise ArgumentError(f"output_value: expected 'sentence_embedding', found {output_value!r}")
        if precision not in _DTYPES:
            raise ArgumentError(f"precision: expected one of {', '.join(_DTYPES)}, found {precision!r}")
        if device not in (None, "cpu"):
            raise ArgumentError(f"device: expected 'cpu', found {device!r}")
        kind = "document" if prompt is not None or prompt_name is None else prompt_name
        if kind not in KINDS:
            raise ArgumentError(f"prompt_name: expected one of {', '.join(KINDS)}, found {prompt_name!r}")
        dimensions = self.truncate_dim if truncate_dim is None else self._checked(truncate_dim)
        one = isinstance(inputs, str)
        texts = [(prompt or "") + text for text in ([inputs] if isinstance(inputs, str) else inputs)]
        options: dict[str, Any] = {"kind": kind, "dtype": _DTYPES[precision], "truncate": True}
        if precision == "float32" and not normalize_embeddings:
            vectors = self.model.embed(texts, **options)[:, :dimensions]
        else:
            vectors = self.model.embed(texts, dimensions=dimensions, **options)
        if precision == "binary":
            vectors = (vectors.astype(np.int16) - 128).astype(np.int8)
        if convert_to_tensor or not convert_to_numpy:
            tensors = _torch().from_numpy(np.ascontiguousarray(vectors))
            return tensors[0] if one else tensors if convert_to_tensor else list(tensors)
        return vectors[0] if one else vectors

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines of all pairs: [n, m] float32, a tensor if one of the two is a tensor."""
        first, second = (_unit(np.atleast_2d(np.asarray(each))) for each in (embeddings1, embeddings2))
        return _like((first @ second.T).astype(np.float32), embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines of the pairs of rows with the same index: [n] float32."""
        first, second = (_unit(np.atleast_2d(np.asarray(each))) for each in (embeddings1, embeddings2))
        return _like((first * second).sum(1).astype(np.float32), embeddings1, embeddings2)

    def _checked(self, dimensions: int | None) -> int | None:
        if dimensions is None:
            return None
        return whole_number("truncate_dim", dimensions, 1, self.model.config.hidden_size, what="a number of dimensions")


def _unit(rows: NDArray[Any]) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    lengths: NDArray[np.float64] = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: NDArray[np.float64] = wide / np.maximum(lengths, 1e-12)
    return unit


def _like(values: NDArray[np.float32], *given: Any) -> Any:
    """The values as a tensor if one of `given` is a tensor."""
    if any(type(each).__module__ == "torch" for each in given):
        return _torch().from_numpy(values)
    return values


def _torch() -> Any:
    try:
        import torch
    except ImportError as reason:
        raise ImportError(f"tensors need torch, which cannot be imported ({reason}): pip install torch") from reason
    return torch
