"""Converts a hidden state to a vector: fewer dimensions (Matryoshka), length 1, and other number formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.arguments import check_choice, check_flag, whole_number
from qwen3cpu.retrieval.exact import check_finite, norm

Dtype: TypeAlias = Literal["float32", "int8", "binary"]
DTYPES: Final[tuple[Dtype, ...]] = get_args(Dtype)


@dataclass(frozen=True)
class VectorForm:
    """The form of vectors.

    Attributes:
        dimensions: number of dimensions to keep, the first of hidden_size.
        normalize: whether to scale to length 1, after the other dimensions are cut off.
        dtype: "float32", "int8" or "binary". For "int8", values are multiplied by 127 / the largest of the vector,
            which keeps angles. For "binary", a bit is set if the value is above zero; a byte has eight bits, the first
            one highest.
    """

    dimensions: int
    normalize: bool
    dtype: Dtype

    @classmethod
    def checked(cls, hidden_size: int, dimensions: object, normalize: Any, dtype: Any) -> VectorForm:
        """Check arguments; dimensions: None: all. Raises ArgumentError."""
        count = hidden_size
        if dimensions is not None:
            count = whole_number("dimensions", dimensions, 1, hidden_size, what="a number of dimensions")
        check_flag("normalize", normalize)
        check_choice("dtype", dtype, DTYPES)
        return cls(count, normalize, dtype)

    @property
    def numpy(self) -> np.dtype[Any]:
        """The dtype of an array of such vectors."""
        return np.dtype({"float32": np.float32, "int8": np.int8, "binary": np.uint8}[self.dtype])

    @property
    def columns(self) -> int:
        """The columns of an array of such vectors: dimensions, or bytes for "binary"."""
        return -(-self.dimensions // 8) if self.dtype == "binary" else self.dimensions

    def of(self, state: NDArray[np.float32]) -> NDArray[Any]:
        """Return the vector of a hidden state, `numpy` [columns]. Raises EngineError for a state that is not finite."""
        check_finite(state)
        vector = state[: self.dimensions]
        if self.dtype == "binary":
            return np.packbits(vector > 0)
        if self.dtype == "int8":
            largest = float(np.abs(vector).max())
            scaled = vector.astype(np.float64) * (127.0 / largest if largest > 0 else 0.0)
            return np.rint(scaled).astype(np.int8)
        if not self.normalize:
            return vector
        length = norm(vector)
        return (vector.astype(np.float64) / length).astype(np.float32) if length > 0 else vector
