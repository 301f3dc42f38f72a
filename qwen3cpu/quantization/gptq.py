"""Rounds one matrix to q4 so that its outputs change least, given the second moments of its inputs.

GPTQ (arXiv 2210.17323) rounds columns one after another, and adjusts later columns to compensate for the error so far.
`_native.round_columns` has the loops over columns. This module has the factor of the moments, and the products between
runs of columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import iadd
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native

_GROUP: Final = 32


@dataclass(frozen=True)
class Rounding:
    """How a matrix is rounded.

    Attributes:
        damping: share of the mean second moment that is added to each. With few tokens, errors in some directions would
            otherwise seem to cost nothing.
        largest_first: round the groups, and the columns in them, in descending order of their moments.
        shared: for experts: number of average tokens of the layer, for each input column, added to an expert's own
            tokens. An expert sees only a part of the text, and errors in directions it has not seen would seem free.
    """

    damping: float = 0.01
    largest_first: bool = True
    shared: float = 0.25


class InputMoments:
    """The second moments of the inputs of one or several matrices, in the form that rounding uses.

    moments: X'X of the inputs X [tokens, cols], symmetric and finite.
    """

    def __init__(self, moments: NDArray[np.float32], rounding: Rounding) -> None:
        self.order = column_order(moments.diagonal(), rounding)
        """int32 [cols padded to whole groups]: the columns in the order in which they are rounded."""
        self.factor = inverse_factor(damped(moments, self.order, rounding.damping)).astype(np.float32)
        """Upper triangular U, where U' U is the inverse of the damped moments in this order."""


def round_matrix(weights: NDArray[np.float32], inputs: InputMoments, out: NDArray[np.uint8], *, threads: int) -> float:
    """Round weights [rows, cols] into out, uint8 [matrix_bytes("q4", rows, cols)].

    Returns the loss tr(E M E'), where E is the change by rounding and M the damped moments. It does not depend on the
    number of threads.
    """
    rows, cols = weights.shape
    order, factor = inputs.order, inputs.factor
    w = np.zeros((rows, order.size), np.float32)
    w[:, order < cols] = weights[:, order[order < cols]]
    _native.start_rounding(np.ascontiguousarray(weights), out, threads)
    loss = 0.0
    for first in range(0, order.size, _native.MOST_RUN_COLUMNS):
        last = min(first + _native.MOST_RUN_COLUMNS, order.size)
        own = np.ascontiguousarray(factor[first:last, first:last])
        errors = np.empty((rows, last - first), np.float32)
        here = np.arange(last - first, dtype=np.int32)
        _native.round_columns(w[:, first:last], here, order[first:last], own, out, cols, errors, threads)
        loss += float(np.einsum("ij,ij->", errors, errors, dtype=np.float64))
        if last < order.size:
            w[:, last:] -= errors @ factor[first:last, last:]
    return loss


def inverse_factor(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the upper triangular U with U' U = matrix^-1, for a positive definite matrix [n, n]."""
    # With rows and columns in reverse order, matrix = R R' with R upper triangular, and U is the inverse of R.
    lower = np.linalg.cholesky(matrix[::-1, ::-1])
    return _inverse_upper(np.ascontiguousarray(lower[::-1, ::-1]))


def _inverse_upper(upper: NDArray[np.float64]) -> NDArray[np.float64]:
    # Recursive halves: their products run at BLAS's speed and take a third of the time of a general inverse.
    n = len(upper)
    if n <= 64:
        small: NDArray[np.float64] = np.triu(np.linalg.inv(upper))
        return small
    half = n // 2
    out = np.zeros_like(upper)
    out[:half, :half] = _inverse_upper(upper[:half, :half])
    out[half:, half:] = _inverse_upper(upper[half:, half:])
    out[:half, half:] = -(out[:half, :half] @ upper[:half, half:]) @ out[half:, half:]
    return out


def column_order(sizes: NDArray[np.float32], rounding: Rounding) -> NDArray[np.int32]:
    """Return the order in which columns are rounded, padded to whole groups. The 32 columns of a group stay together.

    sizes: second moments of the columns.
    """
    cols = len(sizes)
    groups = np.arange(-(-cols // _GROUP) * _GROUP, dtype=np.int32).reshape(-1, _GROUP)
    if rounding.largest_first:
        size = np.zeros(groups.size)
        size[:cols] = sizes
        by_group = size.reshape(groups.shape)
        within = np.argsort(-by_group, axis=1, kind="stable")
        groups = np.take_along_axis(groups, within, 1)[np.argsort(-by_group.sum(1), kind="stable")]
    return np.ascontiguousarray(groups.reshape(-1))


def damped(moments: NDArray[np.float32], order: NDArray[np.int32], damping: float) -> NDArray[np.float64]:
    """Return moments in the given order, with damping * mean added to the diagonal. Padding has the mean alone."""
    cols = len(moments)
    mean = float(moments.diagonal().mean(dtype=np.float64)) or 1.0
    out = np.zeros((order.size, order.size))
    present = np.flatnonzero(order < cols)
    out[np.ix_(present, present)] = moments[np.ix_(order[present], order[present])]
    added = np.where(order < cols, damping * mean, mean)
    out[np.diag_indices(order.size)] += added
    return out


def second_moments(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return X'X of inputs X [tokens, cols]. NumPy computes this product with BLAS's syrk."""
    product: NDArray[np.float32] = inputs.T @ inputs
    return product


def sum_of_moments(parts: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return X'X of inputs that come in one or more parts."""
    total: NDArray[np.float32] = reduce(iadd, map(second_moments, parts))
    return total


def with_share(
    own: NDArray[np.float32], everything: NDArray[np.float32], rows: int, shared: float
) -> NDArray[np.float32]:
    """Add to the moments of an expert's inputs those of `shared` average rows for each column.

    everything: moments of all `rows` rows of the layer.
    """
    moments: NDArray[np.float32] = own + np.float32(shared * len(own) / rows) * everything
    return moments
