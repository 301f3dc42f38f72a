"""Vectors of the texts in the rows of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.ray_data.keys import column_values
from qwen3cpu.integrations.ray_data.work import Work
from qwen3cpu.model import Model


class VectorRows:
    """Embeds the rows of tables.

    Args:
        work: the work on each row.
        model: the loaded model.
    """

    def __init__(self, work: Work, model: Model) -> None:
        self._work = work
        self._model = model
        options = work.options
        self._encode = model.embedder.encoder(
            options.get("kind", "document"), options.get("instruction"), options.get("truncate", False)
        )

    def columns(self, table: pa.Table) -> dict[str, pa.Array]:
        """The columns of vectors and of errors."""
        errors: list[str | None] = []
        encoded = []
        for text in column_values(table, self._work.column):
            try:
                encoded.append(self._encode(text, self._work.column))
                errors.append(None)
            except ArgumentError as reason:
                errors.append(str(reason))
        vectors = self._model.embed(encoded, **self._work.options)
        valid = np.array([error is None for error in errors], bool)
        found = {"vector": _column(vectors, valid), "error": pa.array(errors, pa.string())}
        return {column: found[name] for name, column in self._work.output.items()}


def _column(vectors: NDArray[Any], valid: NDArray[np.bool_]) -> pa.Array:
    """Vectors as lists of a fixed length; null in rows without one."""
    whole = np.zeros((len(valid), vectors.shape[1]), vectors.dtype)
    whole[valid] = vectors
    flat = pa.array(whole.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1], mask=pa.array(~valid))
